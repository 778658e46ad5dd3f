// K experts of a group, M expert width, D model width, R latent width.
#include <torch/torch.h>

#include "talpa/convert/eigen.h"
#include "talpa/convert/linear.h"
#include "talpa/convert/refit.h"

namespace talpa::convert {

namespace {

at::Tensor shared_input_basis(const GroupInput& input, const at::Tensor& metric_DD) {
  const at::Tensor root_DD = cholesky_factor(metric_DD);
  const auto type = solving_type(root_DD.size(0));
  const at::Tensor root = root_DD.to(type);
  at::Tensor gram_DD = torch::zeros_like(root);
  for (std::size_t s = 0; s < input.sides.size(); ++s)
    for (std::size_t k = 0; k < input.members.size(); ++k) {
      const std::int64_t e = input.members[k];
      const at::Tensor weight_M = input.metric->rows(input.sides[s], e) * input.metric->mass(e);
      const at::Tensor seen_MD =
          input.experts_KMD[s][k].to(type).matmul(root) * weight_M.sqrt().unsqueeze(1).to(type);
      gram_DD += seen_MD.t().matmul(seen_MD);
    }
  const at::Tensor leading_DR = leading_eigenvectors(gram_DD, input.latent_dim).to(torch::kDouble);
  // B = V^T S^-1 solves B S = V^T.
  return orthonormal_rows(torch::linalg_solve_triangular(root_DD, leading_DR.t(), /*upper=*/false,
                                                         /*left=*/false));
}

GroupFactors factor_inputs(const GroupInput& input) {
  GroupFactors factors;
  factors.right_RD = shared_input_basis(input, input.metric->input(input.members));
  refit_inputs(input, factors);
  if (input.metric->has_expert_inputs()) refine_inputs(input, factors);
  return factors;
}

GroupFactors factor_outputs(const GroupInput& input) {
  const at::Tensor& experts_KMD = input.experts_KMD.front();
  const auto type = solving_type(experts_KMD.size(2));
  at::Tensor gram_DD =
      torch::zeros({experts_KMD.size(2), experts_KMD.size(2)}, torch::TensorOptions(type));
  for (std::size_t k = 0; k < input.members.size(); ++k) {
    const at::Tensor expert_MD = experts_KMD[k].to(type);
    gram_DD +=
        expert_MD.t().matmul(input.metric->hidden(input.members[k]).to(type)).matmul(expert_MD);
  }
  const at::Tensor basis_DR = leading_eigenvectors((gram_DD + gram_DD.t()) / 2, input.latent_dim);
  return {{experts_KMD.to(type).matmul(basis_DR)}, basis_DR.t()};
}

}  // namespace

GroupFactors whitened_group(const GroupInput& input) {
  TALPA_CHECK(input.metric != nullptr);
  const bool down = input.sides.front() == Side::kDown;
  return balanced(down ? factor_outputs(input) : factor_inputs(input));
}

GroupFactors balanced(const GroupFactors& factors) {
  const auto [rows_DR, mixing_RR] = torch::linalg_qr(factors.right_RD.t());
  const std::int64_t rank = factors.right_RD.size(0);
  std::vector<at::Tensor> lefts;
  at::Tensor gram_RR = torch::zeros_like(mixing_RR);
  std::int64_t group_size = 1;
  for (const at::Tensor& left_KMR : factors.left_KMR) {
    group_size = left_KMR.size(0);
    lefts.push_back(left_KMR.to(mixing_RR.scalar_type()).matmul(mixing_RR.t()));
    const at::Tensor rows = lefts.back().reshape({-1, rank});
    gram_RR += rows.t().matmul(rows);
  }
  auto [values_R, vectors_RR] = torch::linalg_eigh(gram_RR);
  const at::Tensor turn_RR = vectors_RR.flip(1);
  const at::Tensor size_R =
      (values_R.flip(0).clamp_min(0) / static_cast<double>(group_size)).pow(0.25);
  const at::Tensor scale_R = size_R.clamp_min(size_R.max().item<double>() * 1e-3 + 1e-30);
  GroupFactors result;
  for (const at::Tensor& left : lefts) result.left_KMR.push_back(left.matmul(turn_RR) / scale_R);
  result.right_RD = (rows_DR.matmul(turn_RR) * scale_R).t();
  return result;
}

}  // namespace talpa::convert
