// S rows of M values.
#include "talpa/nn/swiglu.h"

#include <torch/torch.h>

#include <optional>

#include "talpa/nn/lanes.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Gradients of one row of h = w silu(g) u; returns that of w.
template <class T>
struct RowGradient {
  const T *gate, *up, *sigmoid, *dh;
  T weight;
  T *dgate, *dup;

  T run(std::int64_t width) const {
    for (std::int64_t i = 0; i < width; ++i) {
      const T weighted = dh[i] * weight;
      dup[i] = weighted * gate[i] * sigmoid[i];
      dgate[i] = weighted * up[i] * sigmoid[i] * (1 + gate[i] * (1 - sigmoid[i]));
    }
    return lane_sum<T>(width,
                       [this](std::int64_t i) { return dh[i] * gate[i] * sigmoid[i] * up[i]; });
  }
};

template <class T>
void backward_rows(const variable_list& saved, const at::Tensor& dh_SM, at::Tensor& dgate_SM,
                   at::Tensor& dup_SM, at::Tensor& dweight_S) {
  const at::Tensor sigmoid_SM = saved[0].sigmoid();
  const std::int64_t width = dh_SM.size(1);
  const bool weighted = saved[2].defined();
  for (std::int64_t s = 0; s < dh_SM.size(0); ++s) {
    const std::int64_t at = s * width;
    const RowGradient<T> row{saved[0].const_data_ptr<T>() + at,
                             saved[1].const_data_ptr<T>() + at,
                             sigmoid_SM.const_data_ptr<T>() + at,
                             dh_SM.const_data_ptr<T>() + at,
                             weighted ? saved[2].const_data_ptr<T>()[s] : T(1),
                             dgate_SM.data_ptr<T>() + at,
                             dup_SM.data_ptr<T>() + at};
    const T dweight = row.run(width);
    if (weighted) dweight_S.data_ptr<T>()[s] = dweight;
  }
}

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_SM,
                            const at::Tensor& up_SM, const std::optional<at::Tensor>& weight_S) {
    context->save_for_backward({gate_SM, up_SM, weight_S.value_or(at::Tensor())});
    at::Tensor hidden_SM = at::silu(gate_SM).mul_(up_SM);
    return weight_S ? hidden_SM.mul_(weight_S->unsqueeze(1)) : hidden_SM;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    at::Tensor dgate_SM = at::empty_like(saved[0]), dup_SM = at::empty_like(saved[1]);
    at::Tensor dweight_S = saved[2].defined() ? at::empty_like(saved[2]) : at::Tensor();
    const at::Tensor dh_SM = gradients[0].contiguous();
    AT_DISPATCH_FLOATING_TYPES(dh_SM.scalar_type(), "swiglu_backward", [&] {
      backward_rows<scalar_t>(saved, dh_SM, dgate_SM, dup_SM, dweight_S);
    });
    return {dgate_SM, dup_SM, dweight_S};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_SM, const at::Tensor& up_SM, const at::Tensor& weight_S) {
  const bool plain = gate_SM.is_cpu() && gate_SM.scalar_type() == wide_type(gate_SM.scalar_type());
  if (!plain || gate_SM.dim() != 2) return swiglu_reference(gate_SM, up_SM, weight_S);
  std::optional<at::Tensor> weight;
  if (weight_S.defined()) weight = weight_S.contiguous();
  return Swiglu::apply(gate_SM.contiguous(), up_SM.contiguous(), weight);
}

at::Tensor swiglu_reference(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                            const at::Tensor& weight_S) {
  const at::Tensor hidden_SM = at::silu(gate_SM) * up_SM;
  return weight_S.defined() ? hidden_SM * weight_S.unsqueeze(-1) : hidden_SM;
}

}  // namespace talpa::nn
