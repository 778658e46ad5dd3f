// T rows, D model width, M hidden width.
#include "talpa/nn/feed_forward.h"

#include <torch/torch.h>

#include "talpa/nn/linear.h"
#include "talpa/nn/swiglu.h"

namespace talpa::nn {

at::Tensor feed_forward(const at::Tensor& x_TD, const Scope& parameters) {
  const at::Tensor gate_TM = nn::linear(x_TD, parameters.at("gate"));
  const at::Tensor up_TM = nn::linear(x_TD, parameters.at("up"));
  return nn::linear(swiglu(gate_TM, up_TM), parameters.at("down"));
}

}  // namespace talpa::nn
