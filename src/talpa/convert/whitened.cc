// K experts of a group, M expert width, D model width, R latent width.
#include <torch/torch.h>

#include "talpa/convert/eigen.h"
#include "talpa/convert/linear.h"
#include "talpa/convert/refit.h"

namespace talpa::convert {

namespace {

/// D_i^1/2 W_i S of gate and up, one by one.
void for_each_seen(const GroupInput& input, const at::Tensor& root_DD, const MatrixUse& use) {
  const auto type = solving_type(root_DD.size(0));
  const at::Tensor root = root_DD.to(type);
  for (std::size_t s = 0; s < input.sides.size(); ++s)
    for (std::size_t k = 0; k < input.members.size(); ++k) {
      const std::int64_t e = input.members[k];
      const at::Tensor weight_M = input.metric->rows(input.sides[s], e) * input.metric->mass(e);
      use(input.expert_MD(s, k).to(type).matmul(root) * weight_M.sqrt().unsqueeze(1).to(type));
    }
}

/// sum_i S^T W_i^T D_i W_i S of gate and up.
at::Tensor input_gram(const GroupInput& input, const at::Tensor& root_DD) {
  const std::int64_t width = root_DD.size(0);
  at::Tensor gram_DD = torch::zeros({width, width}, solving_type(width));
  for_each_seen(input, root_DD,
                [&](const at::Tensor& seen_MD) { gram_DD.addmm_(seen_MD.t(), seen_MD); });
  return gram_DD;
}

/// sum_i W_i H_i W_i^T of down.
at::Tensor output_gram(const GroupInput& input) {
  const std::int64_t width = input.expert_MD(0, 0).size(1);
  const auto type = solving_type(width);
  at::Tensor gram_DD = torch::zeros({width, width}, type);
  for (std::size_t k = 0; k < input.members.size(); ++k) {
    const at::Tensor expert_MD = input.expert_MD(0, k).to(type);
    gram_DD +=
        expert_MD.t().matmul(input.metric->hidden(input.members[k]).to(type)).matmul(expert_MD);
  }
  return (gram_DD + gram_DD.t()) / 2;
}

at::Tensor shared_input_basis(const GroupInput& input, const at::Tensor& metric_DD) {
  const at::Tensor root_DD = cholesky_factor(metric_DD);
  const at::Tensor leading_DR =
      leading_eigenvectors(input_gram(input, root_DD), input.latent_dim).to(torch::kDouble);
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
  const at::Tensor first_MD = input.expert_MD(0, 0);
  const auto type = solving_type(first_MD.size(1));
  const auto group_size = static_cast<std::int64_t>(input.members.size());
  const at::Tensor basis_DR = leading_eigenvectors(output_gram(input), input.latent_dim);
  at::Tensor left_KMR = torch::empty({group_size, first_MD.size(0), input.latent_dim}, type);
  for (std::int64_t k = 0; k < group_size; ++k)
    left_KMR[k].copy_(input.expert_MD(0, static_cast<std::size_t>(k)).to(type).matmul(basis_DR));
  return {{left_KMR}, basis_DR.t()};
}

}  // namespace

GroupFactors whitened_group(const GroupInput& input) {
  TALPA_CHECK(input.metric != nullptr);
  const bool down = input.sides.front() == Side::kDown;
  GroupFactors factors = down ? factor_outputs(input) : factor_inputs(input);
  balance(factors);
  return factors;
}

at::Tensor whitened_spectrum(const GroupInput& input) {
  TALPA_CHECK(input.metric != nullptr);
  const at::Tensor first_MD = input.expert_MD(0, 0);
  const auto matrices = static_cast<std::int64_t>(input.sides.size() * input.members.size());
  const std::int64_t rows = matrices * first_MD.size(0), width = first_MD.size(1);
  if (input.sides.front() == Side::kDown)
    return stacked_spectrum(
        [&](const MatrixUse& use) {
          const auto type = solving_type(width);
          for (std::size_t k = 0; k < input.members.size(); ++k) {
            const at::Tensor root_MM = cholesky_factor(input.metric->hidden(input.members[k]));
            use(root_MM.t().to(type).matmul(input.expert_MD(0, k).to(type)));
          }
        },
        rows, width);
  // Rows weigh with p^2 in the experts' weights and in the group's moment; the mean moment leaves
  // the first, so that sides and groups add up in one unit, the layer's output.
  double mass = 0;
  for (const std::int64_t e : input.members) mass += input.metric->mass(e);
  const at::Tensor root_DD = cholesky_factor(input.metric->input(input.members));
  return stacked_spectrum([&](const MatrixUse& use) { for_each_seen(input, root_DD, use); }, rows,
                          width) /
         mass;
}

void balance(GroupFactors& factors) {
  const auto [rows_DR, mixing_RR] = torch::linalg_qr(factors.right_RD.t().to(torch::kDouble));
  const std::int64_t group_size = factors.left_KMR.front().size(0);
  at::Tensor gram_RR = torch::zeros_like(mixing_RR);
  for (const at::Tensor& left_KMR : factors.left_KMR)
    for (const at::Tensor& left : left_KMR.unbind(0)) {
      const at::Tensor left_MR = left.to(torch::kDouble);
      gram_RR.addmm_(left_MR.t(), left_MR);
    }
  const at::Tensor turned_RR = mixing_RR.matmul(gram_RR).matmul(mixing_RR.t());
  const auto [values_R, vectors_RR] = torch::linalg_eigh((turned_RR + turned_RR.t()) / 2);
  const at::Tensor turn_RR = vectors_RR.flip(1);
  const at::Tensor size_R =
      (values_R.flip(0).clamp_min(0) / static_cast<double>(group_size)).pow(0.25);
  const at::Tensor scale_R = size_R.clamp_min(size_R.max().item<double>() * 1e-3 + 1e-30);
  const at::Tensor map_RR = mixing_RR.t().matmul(turn_RR) / scale_R;
  for (at::Tensor& left_KMR : factors.left_KMR)
    for (at::Tensor left_MR : left_KMR.unbind(0))
      left_MR.copy_(left_MR.to(torch::kDouble).matmul(map_RR));
  factors.right_RD = (rows_DR.matmul(turn_RR) * scale_R).t().to(factors.left_KMR.front());
}

}  // namespace talpa::convert
