// T rows, D model width.
#include "talpa/nn/moe/experts.h"

#include <torch/torch.h>

#include "talpa/nn/moe/routed_swiglu.h"

namespace talpa::nn {

at::Tensor dense_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters) {
  return routed_swiglu(x_TD, x_TD, routing.weight_S.to(x_TD.scalar_type()),
                       {parameters.at("gate"), parameters.at("up"), parameters.at("down")},
                       {routing.offsets, routing.slots, routing.slots, routing.slots});
}

}  // namespace talpa::nn
