// S targets, T rows, N matrices of O outputs and I inputs.
#include "talpa/nn/moe/routed_linear.h"

#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/nn/moe/grouped_products.h"
#include "talpa/nn/saved_value.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using SavedRows = SavedValue<RoutedRows>;

void check(const at::Tensor& input, std::int64_t num_rows, const at::Tensor& weight_NOI,
           const RoutedRows& rows) {
  TALPA_CHECK(input.dim() == 2 && weight_NOI.dim() == 3 && input.size(0) == num_rows);
  TALPA_CHECK(input.size(1) == weight_NOI.size(2));
  TALPA_CHECK(static_cast<std::int64_t>(rows.offsets.size()) == weight_NOI.size(0) + 1);
  TALPA_CHECK(rows.offsets.front() == 0 && rows.offsets.back() == rows.map.num_targets());
}

struct GatherLinear : torch::autograd::Function<GatherLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_TI,
                            const at::Tensor& weight_NOI, const RoutedRows& rows) {
    context->save_for_backward({x_TI, weight_NOI});
    SavedRows::save(context, rows);
    at::Tensor z_SO = at::empty({rows.map.num_targets(), weight_NOI.size(1)}, x_TI.options());
    multiply_slots(rows.offsets, {x_TI, &rows.map}, weight_NOI, Multiply::kTransposed, z_SO);
    return z_SO;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &x_TI = inputs[0], &weight_NOI = inputs[1];
    const RoutedRows& rows = SavedRows::saved(context);
    const at::Tensor dz_SO = gradients[0].contiguous();
    at::Tensor dx_TI, dweight_NOI;
    if (context->needs_input_grad(0)) {
      dx_TI = at::zeros_like(x_TI);
      const SlotFactor factor{dz_SO, weight_NOI};
      add_slots(rows.offsets, {&factor, 1}, Multiply::kPlain, rows.map, dx_TI);
    }
    if (context->needs_input_grad(1)) {
      dweight_NOI = at::empty_like(weight_NOI);
      multiply_outer(rows.offsets, {dz_SO}, {x_TI, &rows.map}, dweight_NOI);
    }
    return {dx_TI, dweight_NOI, at::Tensor()};
  }
};

struct ScatterLinear : torch::autograd::Function<ScatterLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& y_SI,
                            const at::Tensor& weight_NOI, const RoutedRows& rows) {
    context->save_for_backward({y_SI, weight_NOI});
    SavedRows::save(context, rows);
    at::Tensor sum_TO = at::zeros({rows.map.num_sources, weight_NOI.size(1)}, y_SI.options());
    const SlotFactor factor{y_SI, weight_NOI};
    add_slots(rows.offsets, {&factor, 1}, Multiply::kTransposed, rows.map, sum_TO);
    return sum_TO;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto inputs = context->get_saved_variables();
    const at::Tensor &y_SI = inputs[0], &weight_NOI = inputs[1];
    const RoutedRows& rows = SavedRows::saved(context);
    const at::Tensor dsum_TO = gradients[0].contiguous();
    at::Tensor dy_SI, dweight_NOI;
    if (context->needs_input_grad(0)) {
      dy_SI = at::empty_like(y_SI);
      multiply_slots(rows.offsets, {dsum_TO, &rows.map}, weight_NOI, Multiply::kPlain, dy_SI);
    }
    if (context->needs_input_grad(1)) {
      dweight_NOI = at::empty_like(weight_NOI);
      multiply_outer(rows.offsets, {dsum_TO, &rows.map}, {y_SI}, dweight_NOI);
    }
    return {dy_SI, dweight_NOI, at::Tensor()};
  }
};

}  // namespace

at::Tensor gather_linear(const at::Tensor& x_TI, const at::Tensor& weight_NOI,
                         const RoutedRows& rows) {
  check(x_TI, rows.map.num_sources, weight_NOI, rows);
  return GatherLinear::apply(x_TI.contiguous(), weight_NOI.contiguous(), rows);
}

at::Tensor scatter_linear(const at::Tensor& y_SI, const at::Tensor& weight_NOI,
                          const RoutedRows& rows) {
  check(y_SI, rows.map.num_targets(), weight_NOI, rows);
  return ScatterLinear::apply(y_SI.contiguous(), weight_NOI.contiguous(), rows);
}

}  // namespace talpa::nn
