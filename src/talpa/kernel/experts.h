#pragma once

#include <cstdint>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/kernel/matmul.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/route/plan.h"

namespace talpa {

/// Experts of a layer, E of them: y_i = down_i (silu(gate_i x) * up_i x), dense or through the
/// latents of their group g = i / group_size:
///   gate_in, up_in [G] of [r, n]: gate_i or up_i takes gate_in_g x (or up_in_g x) instead of x;
///     with `share_gate_up` up takes gate_in_g x too;
///   down_out [G] of [n, r]: the experts of a group are combined in the latent, then projected.
struct ExpertWeights {
  std::vector<PackedMatrix> gate, up, down;            ///< [E]
  std::vector<PackedMatrix> gate_in, up_in, down_out;  ///< [G], or empty where not factored
  bool share_gate_up = false;
  int group_size = 1;

  std::uint64_t bytes() const;
};

/// Memory of expert products, kept between calls.
struct ExpertScratch {
  Activations gate_latent, up_latent, hidden, latent_sum;
  Buffer<float> gate_latent_rows, up_latent_rows, hidden_rows, slot_rows, group_rows,
      latent_sum_rows;
};

/// y_TD += sum over a row's choices, best first, of weight * expert(x_TD row). Rows are gathered
/// inside the products, experts without rows cost nothing, and a latent is computed once for each
/// row and group that its choices hit. Throws kShape when plan, rows and weights do not fit.
void run_experts(const ExpertWeights& weights, const DispatchPlan& plan, Activations& x_TD,
                 float* y_TD, ExpertScratch& scratch, ThreadPool& pool);

/// Dense feed-forward weights: gate, up [M, D], down [D, M].
struct FeedForwardWeights {
  PackedMatrix gate, up, down;
};
/// Dense SwiGLU, written (not added) to y_TD: down (silu(gate x) * up x).
void run_feed_forward(const FeedForwardWeights& weights, Activations& x_TD, float* y_TD,
                      ExpertScratch& scratch, ThreadPool& pool);

}  // namespace talpa
