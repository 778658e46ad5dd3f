#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/nn/scope.h"

namespace talpa::nn {

/// down(silu(gate x) * up x) of rows x [T, n]; parameters gate, up [m, n], down [n, m].
at::Tensor feed_forward(const at::Tensor& x_TD, const Scope& parameters);

}  // namespace talpa::nn
