#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// Target that does not count.
constexpr std::int64_t kIgnoredTarget = -100;

/// Mean over counted rows of -log softmax(head x)[target], 0-dim, fp32 or wider; 0 if none
/// counts. x [T, n], head [V, n], targets [T] int64 in [0, V) or kIgnoredTarget.
///
/// Logits are made a few rows at a time, and their gradient is taken while they are at hand:
/// the [T, V] matrix never exists. Differentiable once.
at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& head_VD,
                                const at::Tensor& targets_T);

}  // namespace talpa::nn
