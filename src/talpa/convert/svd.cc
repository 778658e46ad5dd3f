// E experts of a group, M expert width, D model width, R latent width, S stacked rows.
#include "talpa/convert/svd.h"

#include <torch/torch.h>

#include <algorithm>

namespace talpa::convert {

namespace {

/// Above this width eigenproblems run in fp32: fp64 takes five times as long there and the
/// vectors are stored in 16 bits.
constexpr std::int64_t kMaxDoubleWidth = 1024;

at::Tensor cut_rank(const at::Tensor& matrix_MD, int rank) {
  if (rank >= std::min(matrix_MD.size(0), matrix_MD.size(1))) return matrix_MD;
  const at::Tensor basis_DR = right_basis(matrix_MD, rank).basis_DR;
  return matrix_MD.matmul(basis_DR).matmul(basis_DR.t());
}

/// The group's matrices of all projections, one above the other.
at::Tensor stack_group(const std::vector<Projection>& projections, std::int64_t first,
                       const FitOptions& options, at::ScalarType type) {
  std::vector<at::Tensor> rows;
  for (const auto& projection : projections)
    for (std::int64_t e = first; e < first + options.group_size; ++e) {
      at::Tensor expert_MD = projection.experts_EMD[e].to(type);
      if (options.reduce_rank > 0) expert_MD = cut_rank(expert_MD, options.reduce_rank);
      rows.push_back(std::move(expert_MD));
    }
  return torch::cat(rows);
}

void check(const std::vector<Projection>& projections, const FitOptions& options) {
  TALPA_CHECK(!projections.empty());
  const at::Tensor& experts_EMD = projections.front().experts_EMD;
  if (options.group_size < 1 || experts_EMD.size(0) % options.group_size != 0)
    fail(ErrorCode::kConfig, "group size {} does not divide {} experts", options.group_size,
         experts_EMD.size(0));
  if (options.latent_dim < 1 || options.latent_dim > experts_EMD.size(2))
    fail(ErrorCode::kConfig, "latent width {} is not in [1, {}]", options.latent_dim,
         experts_EMD.size(2));
  if (options.reduce_rank < 0)
    fail(ErrorCode::kConfig, "rank {} of the first phase is negative", options.reduce_rank);
}

}  // namespace

RightBasis right_basis(const at::Tensor& stacked, int rank) {
  const std::int64_t rows = stacked.size(0), columns = stacked.size(1);
  // The left Gram matrix loses directions where singular values vanish, so it serves only when
  // all wanted ones exist.
  const bool use_left = rows < columns && rank <= rows;
  const at::Tensor gram = use_left ? stacked.matmul(stacked.t()) : stacked.t().matmul(stacked);
  auto [values, vectors] = torch::linalg_eigh(gram);
  values = values.flip(0).clamp_min(0);
  at::Tensor leading = vectors.flip(1).narrow(1, 0, rank);
  if (use_left) {
    leading = stacked.t().matmul(leading);
    // Orthonormal also where a singular value is nearly zero.
    leading = std::get<0>(torch::linalg_qr(leading));
  }
  return {leading.contiguous(), values};
}

std::vector<Factors> SvdMethod::fit(const std::vector<Projection>& projections,
                                    const FitOptions& options) const {
  check(projections, options);
  const torch::NoGradGuard no_grad;
  const at::Tensor& shape_EMD = projections.front().experts_EMD;
  const std::int64_t num_experts = shape_EMD.size(0), width = shape_EMD.size(2);
  const std::int64_t num_groups = num_experts / options.group_size;
  const std::int64_t rank = options.latent_dim;
  const auto type = width <= kMaxDoubleWidth ? torch::kDouble : torch::kFloat;

  std::vector<Factors> all(projections.size());
  for (std::size_t p = 0; p < all.size(); ++p) {
    const std::int64_t rows = projections[p].experts_EMD.size(1);
    all[p].left_EMR = torch::empty({num_experts, rows, rank}, torch::kFloat);
    all[p].right_GRD = torch::empty({num_groups, rank, width}, torch::kFloat);
  }
  for (std::int64_t g = 0; g < num_groups; ++g) {
    const std::int64_t first = g * options.group_size;
    const RightBasis right =
        right_basis(stack_group(projections, first, options, type), options.latent_dim);
    const at::Tensor energy = right.squared_singular_values.narrow(
        0, 0, std::min<std::int64_t>(rank, right.squared_singular_values.size(0)));
    at::Tensor scale_R = torch::ones({rank}, right.basis_DR.options());
    // sqrt of the singular value an expert sees on average; vanishing directions keep a floor.
    const at::Tensor mean = (energy / static_cast<double>(options.group_size)).pow(0.25);
    scale_R.narrow(0, 0, mean.size(0))
        .copy_(mean.clamp_min(mean.max().item<double>() * 1e-3 + 1e-30));
    for (std::size_t p = 0; p < all.size(); ++p) {
      all[p].right_GRD[g].copy_((right.basis_DR * scale_R).t());
      for (std::int64_t e = first; e < first + options.group_size; ++e) {
        const at::Tensor expert_MD = projections[p].experts_EMD[e].to(right.basis_DR.scalar_type());
        const at::Tensor coefficients_MR = expert_MD.matmul(right.basis_DR);
        all[p].left_EMR[e].copy_(coefficients_MR / scale_R);
        const at::Tensor residual = expert_MD - coefficients_MR.matmul(right.basis_DR.t());
        all[p].squared_error += residual.square().sum().item<double>();
        all[p].squared_norm += expert_MD.square().sum().item<double>();
      }
    }
  }
  return all;
}

}  // namespace talpa::convert
