// S rows of M values.
#include "talpa/nn/swiglu.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <vector>

#include "talpa/kernel/implementation.h"
#include "talpa/nn/lanes.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Gradients of one row of h = w silu(g) u, and h itself where it is asked for; returns that of w.
template <class T>
struct RowGradient {
  const T *gate, *up, *sigmoid, *dh;
  T weight;
  T *dgate, *dup, *h;

  T run(std::int64_t width) const {
    for (std::int64_t i = 0; i < width; ++i) {
      const T weighted = dh[i] * weight;
      dup[i] = weighted * gate[i] * sigmoid[i];
      dgate[i] = weighted * up[i] * sigmoid[i] * (1 + gate[i] * (1 - sigmoid[i]));
    }
    for (std::int64_t i = 0; h != nullptr && i < width; ++i)
      h[i] = gate[i] * sigmoid[i] * up[i] * weight;
    return lane_sum<T>(width,
                       [this](std::int64_t i) { return dh[i] * gate[i] * sigmoid[i] * up[i]; });
  }
};

/// Rows worth waking a thread for.
std::int64_t rows_in_grain(std::int64_t width) {
  return 16384 / std::max<std::int64_t>(width, 1) + 1;
}

struct Inputs {
  at::Tensor gate_SM, up_SM, weight_S;  // no weight: undefined
};

// Of each row by itself: at::sigmoid's last bits depend on where threads cut a tensor.
template <class T>
void sigmoid_of(const T* x, T* y, std::int64_t n) {
  std::copy_n(x, n, y);
  if constexpr (std::is_same_v<T, float>)
    kernel::row_functions().exp(y, -1, 0, n);
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = std::exp(-y[i]);
  for (std::int64_t i = 0; i < n; ++i) y[i] = 1 / (1 + y[i]);
}

template <class T>
void backward_rows(const Inputs& inputs, const at::Tensor& dh_SM, SwigluGradient& gradient) {
  const std::int64_t width = dh_SM.size(1);
  const bool weighted = inputs.weight_S.defined();
  T* hidden = gradient.hidden_SM.defined() ? gradient.hidden_SM.data_ptr<T>() : nullptr;
  const auto run = [&](std::int64_t s, T* sigmoid) {
    const std::int64_t at = s * width;
    sigmoid_of(inputs.gate_SM.const_data_ptr<T>() + at, sigmoid, width);
    const RowGradient<T> row{inputs.gate_SM.const_data_ptr<T>() + at,
                             inputs.up_SM.const_data_ptr<T>() + at,
                             sigmoid,
                             dh_SM.const_data_ptr<T>() + at,
                             weighted ? inputs.weight_S.const_data_ptr<T>()[s] : T(1),
                             gradient.gate_SM.data_ptr<T>() + at,
                             gradient.up_SM.data_ptr<T>() + at,
                             hidden != nullptr ? hidden + at : nullptr};
    const T dweight = row.run(width);
    if (weighted) gradient.weight_S.data_ptr<T>()[s] = dweight;
  };
  at::parallel_for(0, dh_SM.size(0), rows_in_grain(width), [&](std::int64_t s, std::int64_t end) {
    std::vector<T> sigmoid(static_cast<std::size_t>(width));
    for (; s < end; ++s) run(s, sigmoid.data());
  });
}

void backward_on_cpu(const Inputs& inputs, const at::Tensor& dh_SM, SwigluGradient& gradient) {
  AT_DISPATCH_FLOATING_TYPES(dh_SM.scalar_type(), "swiglu_backward",
                             [&] { backward_rows<scalar_t>(inputs, dh_SM, gradient); });
}

bool is_plain(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == wide_type(x.scalar_type());
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
    SwigluGradient gradient{at::empty_like(saved[0]), at::empty_like(saved[1]), {}, {}};
    if (saved[2].defined()) gradient.weight_S = at::empty_like(saved[2]);
    backward_on_cpu({saved[0], saved[1], saved[2]}, gradients[0].contiguous(), gradient);
    return {gradient.gate_SM, gradient.up_SM, gradient.weight_S};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_SM, const at::Tensor& up_SM, const at::Tensor& weight_S) {
  if (!is_plain(gate_SM) || gate_SM.dim() != 2) return swiglu_reference(gate_SM, up_SM, weight_S);
  std::optional<at::Tensor> weight;
  if (weight_S.defined()) weight = weight_S.contiguous();
  return Swiglu::apply(gate_SM.contiguous(), up_SM.contiguous(), weight);
}

at::Tensor swiglu_value(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                        const at::Tensor& weight_S) {
  if (!gate_SM.is_cpu() || gate_SM.scalar_type() != at::kFloat)
    return at::silu(gate_SM).mul_(up_SM).mul_(weight_S.unsqueeze(1));
  at::Tensor hidden_SM = at::empty_like(gate_SM);
  const std::int64_t width = gate_SM.size(1);
  const float *gate = gate_SM.const_data_ptr<float>(), *up = up_SM.const_data_ptr<float>();
  const float* weight = weight_S.const_data_ptr<float>();
  float* hidden = hidden_SM.data_ptr<float>();
  const auto silu_mul = kernel::row_functions().silu_mul;
  at::parallel_for(0, gate_SM.size(0), rows_in_grain(width), [&](std::int64_t s, std::int64_t end) {
    for (; s < end; ++s) {
      float* row = hidden + s * width;
      silu_mul(gate + s * width, up + s * width, row, width);
      for (std::int64_t i = 0; i < width; ++i) row[i] *= weight[s];
    }
  });
  return hidden_SM;
}

SwigluGradient swiglu_gradient(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                               const at::Tensor& weight_S, const at::Tensor& dhidden_SM) {
  if (is_plain(gate_SM)) {
    SwigluGradient gradient{at::empty_like(gate_SM), at::empty_like(up_SM),
                            at::empty_like(weight_S), at::empty_like(gate_SM)};
    backward_on_cpu({gate_SM, up_SM, weight_S}, dhidden_SM, gradient);
    return gradient;
  }
  const at::Tensor gate = widen(gate_SM), up = widen(up_SM), sigmoid = gate.sigmoid();
  const at::Tensor weight_S1 = widen(weight_S).unsqueeze(1), dh = widen(dhidden_SM);
  const at::Tensor silu = gate * sigmoid, weighted = dh * weight_S1;
  const auto type = gate_SM.scalar_type();
  return {(weighted * up * sigmoid * (1 + gate * (1 - sigmoid))).to(type),
          (weighted * silu).to(type), (dh * silu * up).sum(1).to(weight_S.scalar_type()),
          (weight_S1 * silu * up).to(type)};
}

at::Tensor swiglu_reference(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                            const at::Tensor& weight_S) {
  const at::Tensor hidden_SM = at::silu(gate_SM) * up_SM;
  return weight_S.defined() ? hidden_SM * weight_S.unsqueeze(-1) : hidden_SM;
}

}  // namespace talpa::nn
