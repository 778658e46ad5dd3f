#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "talpa/convert/mixed_bases.h"

namespace talpa::convert {

/// What an error E_i = W'_i - W_i [M, D] of expert i costs: weight_i tr(C_i E_i H_i E_i^T), C over
/// rows and H over columns of E. What is undefined is the identity, or one.
struct BasesMetric {
  at::Tensor over_columns;  ///< H: [N, D, D], or [1, D, D] for all experts
  at::Tensor over_rows;     ///< C: [N, M, M], or diagonals [N, M]
  at::Tensor weight_N;
};

/// Experts that a fit is to meet, read a few at a time: those of a large model need not lie in
/// memory as floats.
struct BasesTarget {
  std::array<std::int64_t, 3> shape{};                                         ///< N, M, D
  std::function<at::Tensor(std::int64_t first, std::int64_t count)> read_CMD;  ///< contiguous

  BasesTarget() = default;
  /// Those of one tensor.
  BasesTarget(const at::Tensor& experts_NMD);  // NOLINT(google-explicit-constructor)
  std::int64_t numel() const { return shape[0] * shape[1] * shape[2]; }
};

/// The error of experts on mixed bases and its gradients by hand: per expert, three matrix
/// products with [M, R] and [R, D] and what the metric takes, and three with the bases. Works on
/// a few experts at a time; the type and the device are the target's.
class BasesObjective {
 public:
  /// `target` of unit mean square. The metric is scaled so that W' = 0 costs 1 an element,
  /// which keeps gradients, and with them an optimiser's step sizes, as they are without one.
  /// Temporaries take about `chunk_bytes` (at least one expert's).
  BasesObjective(BasesTarget target, BasesMetric metric,
                 std::int64_t chunk_bytes = std::int64_t{32} << 20);

  /// Error relative to that of W' = 0, a scalar tensor on the target's device.
  at::Tensor loss(const MixedBases& bases) const;

  struct Gradients {
    at::Tensor loss;                       ///< as loss(); zero where it was not asked for
    std::map<std::string, at::Tensor> of;  ///< by MixedBases::tensors, times N M D
  };
  Gradients gradients(const MixedBases& bases, bool with_loss = true) const;
  /// First sets own_NMR to the least-squares solution A for the formed bases Z as they are, with
  /// `ridge` + `noise` times the mean diagonal of Z H Z^T added to the normal equations. At the
  /// solution the gradient with respect to the bases is that of the loss with A eliminated
  /// (variable projection, Golub and Pereyra 1973); "own" is left out of the gradients. The loss
  /// includes noise mean(diag Z H Z^T) |A|^2: what rounding A to few bits will add, if `noise` is
  /// the square of that rounding relative to A's (rounding_noise).
  Gradients gradients_with_exact_own(MixedBases& bases, double ridge, double noise = 0,
                                     bool with_loss = true) const;
  /// Sets own_NMR so, and no more.
  void solve_own(MixedBases& bases, double ridge, double noise = 0) const;

 private:
  struct Chunk;
  class Pass;

  at::Tensor through_columns(const at::Tensor& x, const Chunk& chunk) const;
  at::Tensor through_rows(const at::Tensor& x, const Chunk& chunk) const;
  at::Tensor weighted(const at::Tensor& x, const Chunk& chunk) const;

  BasesTarget target_;
  BasesMetric metric_;
  at::Tensor seen_target_NMD_;  ///< W_i H_i; undefined where H is the identity
  double scale_ = 1;
  std::int64_t chunk_bytes_;
};

/// The least-squares solution for one expert's formed bases in fp64, A = W H Z^T (Z H Z^T)^-1
/// with H undefined for the identity: [M, R]. Rank-deficient Z get the least ridge that works.
at::Tensor least_squares_own(const at::Tensor& target_MD, const at::Tensor& formed_RD,
                             const at::Tensor& over_columns_DD);

}  // namespace talpa::convert
