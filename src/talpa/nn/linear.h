#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// x W^T + bias: x [.., I], W [O, I], bias [O] or undefined -> [.., O]. fp32 on a CPU goes through
/// the runtime's kernels, with the same bits for any number of threads; all else through
/// at::linear.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O = {});

}  // namespace talpa::nn
