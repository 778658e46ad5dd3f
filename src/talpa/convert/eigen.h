#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace talpa::convert {

/// Eigenproblems of this width run in fp64, or in fp32 above 1024: fp64 takes five times as long
/// there, and the vectors are stored in 16 bits.
at::ScalarType solving_type(std::int64_t width);

/// Orthonormal basis [n, r] of the r leading right singular vectors of `stacked` [rows, n] and
/// all squared singular values, descending. Works on the smaller of the two Gram matrices.
struct RightBasis {
  at::Tensor basis_DR;
  at::Tensor squared_singular_values;
};
RightBasis right_basis(const at::Tensor& stacked, std::int64_t rank);
/// The same from stacked^T stacked [n, n].
RightBasis right_basis_of_gram(const at::Tensor& gram_DD, std::int64_t rank);
/// All squared singular values, descending, of matrices [m, n] under each other, which
/// `for_each_MD` hands over one by one; `rows` all together. Works on the smaller Gram matrix.
using MatrixUse = std::function<void(const at::Tensor&)>;
at::Tensor stacked_spectrum(const std::function<void(const MatrixUse&)>& for_each_MD,
                            std::int64_t rows, std::int64_t columns);

/// Orthonormal basis [n, r] of the leading eigenspace of a positive semidefinite matrix [n, n],
/// by descending eigenvalue. Where r is a small share of a large n, by subspace iteration
/// (Halko, Martinsson and Tropp 2011, algorithm 4.4), which is several times as fast and keeps
/// the same energy to four digits; else by a full decomposition.
at::Tensor leading_eigenvectors(const at::Tensor& gram_DD, std::int64_t rank);
/// The two ways.
at::Tensor leading_eigenvectors_full(const at::Tensor& gram_DD, std::int64_t rank);
at::Tensor leading_eigenvectors_iterated(const at::Tensor& gram_DD, std::int64_t rank);

/// Lower Cholesky factor of a symmetric positive definite matrix, in fp64, after adding the
/// smallest multiple of its mean eigenvalue that makes it so (1e-10, then tenfold).
at::Tensor cholesky_factor(const at::Tensor& matrix_DD);

}  // namespace talpa::convert
