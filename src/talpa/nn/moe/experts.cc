// T rows, D model width, M expert width, S slots sorted by expert.
#include "talpa/nn/moe/experts.h"

#include <torch/torch.h>

#include "talpa/nn/moe/grouped_linear.h"
#include "talpa/nn/swiglu.h"

namespace talpa::nn {

at::Tensor dense_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters) {
  const at::Tensor x_SD = gather_rows(x_TD, routing.slots);
  const at::Tensor gate_SM = grouped_linear(x_SD, parameters.at("gate"), routing.offsets);
  const at::Tensor up_SM = grouped_linear(x_SD, parameters.at("up"), routing.offsets);
  // down(w h) = w down(h), and h is the narrower.
  const at::Tensor hidden_SM = swiglu(gate_SM, up_SM, routing.weight_S.to(x_TD.scalar_type()));
  const at::Tensor y_SD = grouped_linear(hidden_SM, parameters.at("down"), routing.offsets);
  return sum_rows(y_SD, routing.slots);
}

}  // namespace talpa::nn
