// S rows, N matrices of O outputs and I inputs.
#include "talpa/nn/moe/grouped_linear.h"

#include <torch/torch.h>

#include "talpa/base/error.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of matrix e, without autograd's bookkeeping.
at::Tensor part(const at::Tensor& x, const std::vector<std::int64_t>& offsets, std::size_t e) {
  return x.narrow(0, offsets[e], offsets[e + 1] - offsets[e]);
}

void check(const at::Tensor& x_SI, const at::Tensor& weight_NOI,
           const std::vector<std::int64_t>& offsets) {
  TALPA_CHECK(x_SI.dim() == 2 && weight_NOI.dim() == 3 && x_SI.size(1) == weight_NOI.size(2));
  TALPA_CHECK(static_cast<std::int64_t>(offsets.size()) == weight_NOI.size(0) + 1);
  TALPA_CHECK(offsets.front() == 0 && offsets.back() == x_SI.size(0));
}

// One matrix product a matrix, written straight into one buffer each way.
struct GroupedLinear : torch::autograd::Function<GroupedLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_SI,
                            const at::Tensor& weight_NOI,
                            const std::vector<std::int64_t>& offsets) {
    context->save_for_backward({x_SI, weight_NOI});
    context->saved_data["offsets"] = offsets;
    at::Tensor y_SO = at::empty({x_SI.size(0), weight_NOI.size(1)}, x_SI.options());
    for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
      if (offsets[e] == offsets[e + 1]) continue;
      at::Tensor y = part(y_SO, offsets, e);
      at::mm_out(y, part(x_SI, offsets, e), weight_NOI.select(0, e).t());
    }
    return y_SO;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &x_SI = inputs[0], &weight_NOI = inputs[1];
    const auto offsets = context->saved_data["offsets"].toIntVector();
    const at::Tensor dy_SO = gradients[0].contiguous();
    at::Tensor dx_SI, dweight_NOI;
    if (context->needs_input_grad(0)) dx_SI = at::empty_like(x_SI);
    if (context->needs_input_grad(1)) dweight_NOI = at::empty_like(weight_NOI);
    for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
      if (offsets[e] == offsets[e + 1]) {
        if (dweight_NOI.defined()) dweight_NOI.select(0, e).zero_();
        continue;
      }
      const at::Tensor dy = part(dy_SO, offsets, e);
      if (dx_SI.defined()) {
        at::Tensor dx = part(dx_SI, offsets, e);
        at::mm_out(dx, dy, weight_NOI.select(0, e));
      }
      if (dweight_NOI.defined()) {
        at::Tensor dweight = dweight_NOI.select(0, e);
        at::mm_out(dweight, dy.t(), part(x_SI, offsets, e));
      }
    }
    return {dx_SI, dweight_NOI, at::Tensor()};
  }
};

}  // namespace

at::Tensor grouped_linear(const at::Tensor& x_SI, const at::Tensor& weight_NOI,
                          const std::vector<std::int64_t>& offsets) {
  check(x_SI, weight_NOI, offsets);
  return GroupedLinear::apply(x_SI.contiguous(), weight_NOI, offsets);
}

at::Tensor grouped_linear_reference(const at::Tensor& x_SI, const at::Tensor& weight_NOI,
                                    const std::vector<std::int64_t>& offsets) {
  check(x_SI, weight_NOI, offsets);
  const auto weights = weight_NOI.unbind(0);
  std::vector<at::Tensor> parts;
  for (std::size_t e = 0; e < weights.size(); ++e)
    parts.push_back(at::linear(part(x_SI, offsets, e), weights[e]));
  return at::cat(parts, 0);
}

}  // namespace talpa::nn
