// R rows of n values.
#include "talpa/nn/norm.h"

#include <torch/torch.h>

#include <cmath>

#include "talpa/nn/lanes.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
void normalise_rows(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor& y,
                    at::Tensor& scale_R) {
  const std::int64_t n = x.size(-1), num_rows = scale_R.numel();
  const T *row = x.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
  T *out = y.data_ptr<T>(), *scale = scale_R.data_ptr<T>();
  for (std::int64_t r = 0; r < num_rows; ++r, row += n, out += n) {
    const T squares = lane_sum<T>(n, [row](std::int64_t i) { return row[i] * row[i]; });
    const T s = T(1) / std::sqrt(squares / static_cast<T>(n) + static_cast<T>(eps));
    scale[r] = s;
    for (std::int64_t i = 0; i < n; ++i) out[i] = row[i] * s * w[i];
  }
}

// With s = 1/rms: dx = s w dy - x s^3/n sum(w dy x), dweight = sum over rows of dy x s.
template <class T>
void normalise_rows_backward(const variable_list& saved, const at::Tensor& dy, at::Tensor& dx,
                             at::Tensor& dweight) {
  const at::Tensor &x = saved[0], &weight = saved[1], &scale_R = saved[2];
  const std::int64_t n = x.size(-1), num_rows = scale_R.numel();
  const T *row = x.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
  const T *scale = scale_R.const_data_ptr<T>(), *g = dy.const_data_ptr<T>();
  T *out = dx.data_ptr<T>(), *dw = dweight.data_ptr<T>();
  for (std::int64_t r = 0; r < num_rows; ++r, row += n, out += n, g += n) {
    const T s = scale[r];
    const T dot = lane_sum<T>(n, [=](std::int64_t i) { return w[i] * g[i] * row[i]; });
    const T pull = dot * s * s * s / static_cast<T>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      out[i] = s * w[i] * g[i] - row[i] * pull;
      dw[i] += g[i] * row[i] * s;
    }
  }
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    at::Tensor y = at::empty_like(x);
    at::Tensor scale_R = at::empty({x.numel() / x.size(-1)}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm",
                               [&] { normalise_rows<scalar_t>(x, weight, eps, y, scale_R); });
    context->save_for_backward({x, weight, scale_R});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    at::Tensor dx = at::empty_like(saved[0]), dweight = at::zeros_like(saved[1]);
    const at::Tensor dy = gradients[0].contiguous();
    AT_DISPATCH_FLOATING_TYPES(dx.scalar_type(), "rms_norm_backward",
                               [&] { normalise_rows_backward<scalar_t>(saved, dy, dx, dweight); });
    return {dx, dweight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const bool one_type =
      x.scalar_type() == wide_type(x.scalar_type()) && weight.scalar_type() == x.scalar_type();
  if (!x.is_cpu() || !one_type) return rms_norm_reference(x, weight, eps);
  return RmsNorm::apply(x.contiguous(), weight.contiguous(), eps);
}

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = widen(x);
  const at::Tensor scale = (wide.square().mean(-1, true) + eps).rsqrt();
  return (wide * scale).to(x.scalar_type()) * weight;
}

}  // namespace talpa::nn
