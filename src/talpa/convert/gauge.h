#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::convert {

/// Low-rank bases U_j V_j in one gauge of the many with the same product (SLBF, mole.md 5.2):
/// K rows of U_j, its pivots, are the identity's, so that they need not be stored.
struct GaugeFixed {
  at::Tensor basis_GXK;  ///< U's other rows in order, X = R - K
  at::Tensor pivot_GR;   ///< ones at the pivot rows, else zeros
  at::Tensor right_GKD;  ///< V
};

/// Pivots are chosen by column-pivoted QR of U^T (Businger and Golub 1965), which keeps U_a well
/// conditioned: U_b U_a^-1 and U_a V. Solved in fp64, returned in the type given.
GaugeFixed fix_gauge(const at::Tensor& left_GRK, const at::Tensor& right_GKD);

/// U of a gauge: [G, R, K].
at::Tensor left_of(const GaugeFixed& gauge);

/// Rows that a pivoted QR of each U^T takes first, in the order taken: [G, K].
at::Tensor pivot_rows(const at::Tensor& left_GRK);

}  // namespace talpa::convert
