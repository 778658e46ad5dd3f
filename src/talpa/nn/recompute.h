#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace talpa::nn {

/// body(x) without keeping what its backward needs: body runs once more, on the same x, when the
/// gradient is asked for (Chen et al., arXiv 1604.06174). Gradients of the parameters that body
/// uses accumulate as if it had been differentiated at once, so they must be leaves; x must
/// require a gradient. Body must be repeatable, and what it refers to must live as long as the
/// graph does.
std::vector<at::Tensor> recomputed(const at::Tensor& x,
                                   std::function<std::vector<at::Tensor>(const at::Tensor&)> body);

}  // namespace talpa::nn
