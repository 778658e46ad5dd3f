// K experts of a group, M expert width, D model width, R latent width.
#include <torch/torch.h>

#include "talpa/convert/eigen.h"
#include "talpa/convert/linear.h"

namespace talpa::convert {

namespace {

at::Tensor cut_rank(const at::Tensor& matrix_MD, int rank) {
  if (rank >= std::min(matrix_MD.size(0), matrix_MD.size(1))) return matrix_MD;
  const at::Tensor basis_DR = right_basis(matrix_MD, rank).basis_DR;
  return matrix_MD.matmul(basis_DR).matmul(basis_DR.t());
}

/// The group's matrices of all sides, one above the other.
at::Tensor stack_group(const GroupInput& input, at::ScalarType type) {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& experts_KMD : input.experts_KMD)
    for (const at::Tensor& expert : experts_KMD.unbind(0)) {
      const at::Tensor expert_MD = expert.to(type);
      rows.push_back(input.reduce_rank > 0 ? cut_rank(expert_MD, input.reduce_rank) : expert_MD);
    }
  return torch::cat(rows);
}

/// Square roots of the singular values that an expert sees on average; vanishing directions keep
/// a floor.
at::Tensor balance_of(const RightBasis& right, std::int64_t rank, std::int64_t group_size) {
  const at::Tensor energy = right.squared_singular_values.narrow(
      0, 0, std::min<std::int64_t>(rank, right.squared_singular_values.size(0)));
  at::Tensor scale_R = torch::ones({rank}, right.basis_DR.options());
  const at::Tensor mean = (energy / static_cast<double>(group_size)).pow(0.25);
  scale_R.narrow(0, 0, mean.size(0))
      .copy_(mean.clamp_min(mean.max().item<double>() * 1e-3 + 1e-30));
  return scale_R;
}

}  // namespace

GroupFactors svd_group(const GroupInput& input) {
  const auto group_size = static_cast<std::int64_t>(input.members.size());
  const auto type = solving_type(input.experts_KMD.front().size(2));
  const RightBasis right = right_basis(stack_group(input, type), input.latent_dim);
  const at::Tensor scale_R = balance_of(right, input.latent_dim, group_size);
  GroupFactors factors;
  factors.right_RD = (right.basis_DR * scale_R).t();
  for (const at::Tensor& experts_KMD : input.experts_KMD)
    factors.left_KMR.push_back(experts_KMD.to(type).matmul(right.basis_DR) / scale_R);
  return factors;
}

}  // namespace talpa::convert
