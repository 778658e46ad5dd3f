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

/// One after the other the group's matrices of all sides, as the SVD is to see them.
void for_each_matrix(const GroupInput& input, at::ScalarType type, const MatrixUse& use) {
  for (std::size_t s = 0; s < input.sides.size(); ++s)
    for (std::size_t k = 0; k < input.members.size(); ++k) {
      const at::Tensor expert_MD = input.expert_MD(s, k).to(type);
      use(input.reduce_rank > 0 ? cut_rank(expert_MD, input.reduce_rank) : expert_MD);
    }
}

RightBasis shared_basis(const GroupInput& input, const at::Tensor& first_MD, at::ScalarType type) {
  const std::int64_t columns = first_MD.size(1);
  const auto matrices = static_cast<std::int64_t>(input.sides.size() * input.members.size());
  if (matrices * first_MD.size(0) < columns) {  // right_basis may take the smaller Gram matrix
    std::vector<at::Tensor> rows;
    for_each_matrix(input, type, [&](const at::Tensor& matrix) { rows.push_back(matrix); });
    return right_basis(torch::cat(rows), input.latent_dim);
  }
  at::Tensor gram_DD = torch::zeros({columns, columns}, type);
  for_each_matrix(input, type,
                  [&](const at::Tensor& matrix_MD) { gram_DD.addmm_(matrix_MD.t(), matrix_MD); });
  return right_basis_of_gram(gram_DD, input.latent_dim);
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

at::Tensor svd_spectrum(const GroupInput& input) {
  const at::Tensor first_MD = input.expert_MD(0, 0);
  const auto matrices = static_cast<std::int64_t>(input.sides.size() * input.members.size());
  return stacked_spectrum(
      [&](const MatrixUse& use) { for_each_matrix(input, solving_type(first_MD.size(1)), use); },
      matrices * first_MD.size(0), first_MD.size(1));
}

GroupFactors svd_group(const GroupInput& input) {
  const auto group_size = static_cast<std::int64_t>(input.members.size());
  const at::Tensor first_MD = input.expert_MD(0, 0);
  const auto type = solving_type(first_MD.size(1));
  const RightBasis right = shared_basis(input, first_MD, type);
  const at::Tensor scale_R = balance_of(right, input.latent_dim, group_size);
  GroupFactors factors;
  factors.right_RD = (right.basis_DR * scale_R).t();
  for (std::size_t s = 0; s < input.sides.size(); ++s) {
    factors.left_KMR.push_back(
        torch::empty({group_size, first_MD.size(0), input.latent_dim}, type));
    for (std::int64_t k = 0; k < group_size; ++k)
      factors.left_KMR[s][k].copy_(
          input.expert_MD(s, static_cast<std::size_t>(k)).to(type).matmul(right.basis_DR) /
          scale_R);
  }
  return factors;
}

}  // namespace talpa::convert
