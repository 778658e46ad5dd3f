#pragma once

#include "talpa/convert/method.h"

namespace talpa::convert {

/// The paper's two phases (arXiv 2503.23100; mole.md 2.1-2.3). Optionally every expert is first
/// cut to a lower rank; then the matrices of a group are stacked, M = [W_1; ...; W_k] =
/// U S V^T, and right = V_r^T. The left factors are always refitted on the original weights,
/// left_i = W_i V_r, which is optimal for the given right factor (Eckart-Young-Mirsky: without
/// the first phase, the squared error is the tail sum of squared singular values). Scales are
/// balanced between the factors, which leaves products unchanged and suits narrow types.
class SvdMethod : public Method {
 public:
  const char* name() const override { return "svd"; }
  const char* summary() const override { return "stacked SVD of a group's experts, data-free"; }
  std::vector<Factors> fit(const std::vector<Projection>& projections,
                           const FitOptions& options) const override;
};

/// Orthonormal basis [n, r] of the r leading right singular vectors of `stacked` [rows, n] and
/// all squared singular values, descending. Works on the smaller of the two Gram matrices.
struct RightBasis {
  at::Tensor basis_DR;
  at::Tensor squared_singular_values;
};
RightBasis right_basis(const at::Tensor& stacked, int rank);

}  // namespace talpa::convert
