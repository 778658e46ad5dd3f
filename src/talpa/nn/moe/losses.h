#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// Load balance of one layer (Switch Transformers, eq. 4-6, for K choices a row), the mean over
/// B equal parts of the rows (B sequences, or one) of
///   N * sum_e f_e p_e,  f_e = counts_e / sum of counts,  p_e = mean over rows of softmax prob.
/// counts [B, N]: rows sent to each expert. 1 when routing is uniform, N when one expert takes
/// all. Differentiable through p. 0-dim.
at::Tensor balance_loss(const at::Tensor& probs_TN, const at::Tensor& counts_BN);

/// Router z-loss of one layer (ST-MoE, eq. 5): mean over rows of logsumexp(logits)^2. 0-dim.
at::Tensor router_z_loss(const at::Tensor& logits_TN);

}  // namespace talpa::nn
