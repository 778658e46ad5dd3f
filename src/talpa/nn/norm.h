#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// RMSNorm over the last dimension (Zhang and Sennrich 2019, eq. 4): x / sqrt(mean(x^2) + eps),
/// in fp32 or wider, back in x's type and then times weight [n], as Hugging Face does. One pass
/// each way for fp32 and fp64 on a CPU.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// The same composed of autograd's own operations, for any type and device.
at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace talpa::nn
