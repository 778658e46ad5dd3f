#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/nn/moe/row_map.h"

namespace talpa::nn {

/// Where slots, sorted by expert, take their rows from and put them: an input or a latent of
/// gate and up, an output or a latent that is summed.
struct SwigluPlan {
  std::vector<std::int64_t> offsets;  ///< [N + 1] slots of each expert
  RowMap gate, up, down;
};

/// Parameters of N experts: gate [N, m, i], up [N, m, j], down [N, o, m].
struct SwigluWeights {
  at::Tensor gate_NMI, up_NMJ, down_NOM;
};

/// Routed SwiGLU experts as one operation: sum over the slots s of a row of
///   w_s down_e (silu(gate_e a[gate(s)]) * up_e b[up(s)])            -> [plan.down's rows, o]
/// where e is the slot's expert. Dense experts have a = b = x; latent ones their latents.
///
/// Rows are gathered an expert at a time. The gradient keeps a, b, the plan and the products of
/// gate and up; what is cheap is computed again. Sums run in the order of slots: the same
/// arguments give the same bits. One pass over activations for fp32 and fp64 on a CPU.
at::Tensor routed_swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
                         const SwigluWeights& weights, const SwigluPlan& plan);

}  // namespace talpa::nn
