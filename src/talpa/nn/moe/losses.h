#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace talpa::nn {

/// Load balance of one layer (Switch Transformers, eq. 4-6, for K choices a row):
///   N * sum_e f_e p_e,  f_e = rows sent to e / (T * K),  p_e = mean over rows of softmax prob.
/// 1 when routing is uniform, N when one expert takes all. Differentiable through p. 0-dim.
at::Tensor balance_loss(const at::Tensor& probs_TN,
                        const std::vector<std::int64_t>& rows_per_expert);

/// Router z-loss of one layer (ST-MoE, eq. 5): mean over rows of logsumexp(logits)^2. 0-dim.
at::Tensor router_z_loss(const at::Tensor& logits_TN);

}  // namespace talpa::nn
