// D width of the problem, R leading directions.
#include "talpa/convert/eigen.h"

#include <torch/torch.h>

#include "talpa/base/error.h"

namespace talpa::convert {

namespace {

constexpr std::int64_t kMaxDoubleWidth = 1024;
/// Subspace iteration pays from this width on, for at most this share of it.
constexpr std::int64_t kMinIteratedWidth = 512;
constexpr std::int64_t kIteratedShare = 8;
constexpr std::int64_t kOversampling = 16;
constexpr int kIterations = 12;

at::Tensor orthonormal(const at::Tensor& columns) { return std::get<0>(torch::linalg_qr(columns)); }

}  // namespace

at::ScalarType solving_type(std::int64_t width) {
  return width <= kMaxDoubleWidth ? torch::kDouble : torch::kFloat;
}

RightBasis right_basis(const at::Tensor& stacked, std::int64_t rank) {
  const std::int64_t rows = stacked.size(0), columns = stacked.size(1);
  // The left Gram matrix loses directions where singular values vanish, so it serves only when
  // all wanted ones exist.
  if (rows >= columns || rank > rows) return right_basis_of_gram(stacked.t().matmul(stacked), rank);
  RightBasis left = right_basis_of_gram(stacked.matmul(stacked.t()), rank);
  // Orthonormal also where a singular value is nearly zero.
  left.basis_DR = orthonormal(stacked.t().matmul(left.basis_DR)).contiguous();
  return left;
}

RightBasis right_basis_of_gram(const at::Tensor& gram_DD, std::int64_t rank) {
  const auto [values, vectors] = torch::linalg_eigh(gram_DD);
  return {vectors.flip(1).narrow(1, 0, rank).contiguous(), values.flip(0).clamp_min(0)};
}

at::Tensor stacked_spectrum(const std::function<void(const MatrixUse&)>& for_each_MD,
                            std::int64_t rows, std::int64_t columns) {
  at::Tensor gram;
  if (rows < columns) {
    std::vector<at::Tensor> all;
    for_each_MD([&](const at::Tensor& matrix_MD) { all.push_back(matrix_MD); });
    const at::Tensor stacked = torch::cat(all);
    gram = stacked.matmul(stacked.t());
  } else {
    for_each_MD([&](const at::Tensor& matrix_MD) {
      if (!gram.defined()) gram = torch::zeros({columns, columns}, matrix_MD.options());
      gram.addmm_(matrix_MD.t(), matrix_MD);
    });
  }
  return torch::linalg_eigvalsh(gram).flip(0).clamp_min(0);
}

at::Tensor leading_eigenvectors(const at::Tensor& gram_DD, std::int64_t rank) {
  const std::int64_t width = gram_DD.size(0);
  const bool iterate = width >= kMinIteratedWidth && rank * kIteratedShare <= width;
  return iterate ? leading_eigenvectors_iterated(gram_DD, rank)
                 : leading_eigenvectors_full(gram_DD, rank);
}

at::Tensor leading_eigenvectors_full(const at::Tensor& gram_DD, std::int64_t rank) {
  const at::Tensor vectors = std::get<1>(torch::linalg_eigh(gram_DD));
  return vectors.flip(1).narrow(1, 0, rank).contiguous();
}

at::Tensor leading_eigenvectors_iterated(const at::Tensor& gram_DD, std::int64_t rank) {
  const std::int64_t width = gram_DD.size(0);
  const std::int64_t columns = std::min(width, rank + kOversampling);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  at::Tensor basis = orthonormal(torch::randn({width, columns}, generator, gram_DD.options()));
  for (int i = 0; i < kIterations; ++i) basis = orthonormal(gram_DD.matmul(basis));
  const at::Tensor projected = basis.t().matmul(gram_DD).matmul(basis);
  return basis.matmul(leading_eigenvectors_full((projected + projected.t()) / 2, rank));
}

at::Tensor cholesky_factor(const at::Tensor& matrix_DD) {
  const at::Tensor matrix = matrix_DD.to(torch::kDouble);
  const double mean = std::max(matrix.diagonal().mean().item<double>(), 1e-300);
  for (double ridge = 1e-10; ridge <= 1; ridge *= 10) {
    at::Tensor shifted = matrix.clone();
    shifted.diagonal().add_(ridge * mean);
    const auto [factor, info] = torch::linalg_cholesky_ex(shifted);
    if (info.item<int>() == 0) return factor;
  }
  fail(ErrorCode::kInternal, "a moment of width {} is not positive semidefinite",
       matrix_DD.size(0));
}

}  // namespace talpa::convert
