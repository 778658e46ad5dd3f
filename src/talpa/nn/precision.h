#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// The type that norms, routers and losses compute in: fp32, or fp64 for fp64.
at::ScalarType wide_type(at::ScalarType dtype);
/// x in wide_type.
at::Tensor widen(const at::Tensor& x);
/// What the runtime's kernels take.
bool is_float_on_cpu(const at::Tensor& x);

}  // namespace talpa::nn
