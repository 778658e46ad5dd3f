#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/nn/moe/expert_ranks.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {

/// Dense experts: y_t = sum over t's experts e of w_te down_e(silu(gate_e x_t) * up_e x_t).
/// Parameters gate, up [N, m, n], down [N, n, m]; of this process' experts where `ranks` share
/// them.
at::Tensor dense_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters,
                         ExpertRanks* ranks = nullptr);

}  // namespace talpa::nn
