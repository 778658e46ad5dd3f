// T rows, D model width.
#include "talpa/nn/moe/experts.h"

#include <torch/torch.h>

#include "talpa/nn/moe/routed_swiglu.h"

namespace talpa::nn {

at::Tensor dense_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters,
                         ExpertRanks* ranks) {
  const at::Tensor weight_S = routing.weight_S.to(x_TD.scalar_type());
  const SwigluWeights weights{parameters.at("gate"), parameters.at("up"), parameters.at("down")};
  const SwigluPlan plan{routing.offsets, routing.slots, routing.slots, routing.slots};
  if (ranks == nullptr) return routed_swiglu(x_TD, x_TD, weight_S, weights, plan);
  return ranks->swiglu(x_TD, x_TD, weight_S, weights, plan, routing.slots, x_TD.size(1));
}

}  // namespace talpa::nn
