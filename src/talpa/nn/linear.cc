// T rows, O outputs, I inputs.
#include "talpa/nn/linear.h"

#include <torch/torch.h>

#include "talpa/nn/moe/grouped_products.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor multiplied(const at::Tensor& x_T, const at::Tensor& weight_OI, Multiply how) {
  at::Tensor y_T =
      at::empty({x_T.size(0), weight_OI.size(how == Multiply::kPlain ? 1 : 0)}, x_T.options());
  multiply_slots({0, x_T.size(0)}, {x_T}, weight_OI.unsqueeze(0), how, y_T);
  return y_T;
}

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_TI,
                            const at::Tensor& weight_OI) {
    context->save_for_backward({x_TI, weight_OI});
    return multiplied(x_TI, weight_OI, Multiply::kTransposed);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &x_TI = inputs[0], &weight_OI = inputs[1];
    const at::Tensor dy_TO = gradients[0].contiguous();
    at::Tensor dx_TI, dweight_OI;
    if (context->needs_input_grad(0)) dx_TI = multiplied(dy_TO, weight_OI, Multiply::kPlain);
    if (context->needs_input_grad(1)) {
      dweight_OI = at::empty_like(weight_OI);
      at::Tensor one_matrix = dweight_OI.unsqueeze(0);
      multiply_outer({0, x_TI.size(0)}, {dy_TO}, {x_TI}, one_matrix);
    }
    return {dx_TI, dweight_OI};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O) {
  if (!is_float_on_cpu(x) || !is_float_on_cpu(weight_OI)) return at::linear(x, weight_OI, bias_O);
  auto shape = x.sizes().vec();
  shape.back() = weight_OI.size(0);
  const at::Tensor rows_TI = x.reshape({-1, x.size(-1)}).contiguous();
  const at::Tensor y = Linear::apply(rows_TI, weight_OI.contiguous()).view(shape);
  return bias_O.defined() ? y + bias_O : y;
}

}  // namespace talpa::nn
