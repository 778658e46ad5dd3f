// B sequences, T positions, H heads of width h, F = h / 2 frequencies.
#include "talpa/nn/rotary.h"

#include <torch/torch.h>

#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Turns every head by its position's angles; direction -1 turns back.
template <class T>
void turn(const at::Tensor& x_BTHh, const RotaryTables& tables, T direction, at::Tensor& y_BTHh) {
  const std::int64_t num_positions = x_BTHh.size(1), num_heads = x_BTHh.size(2);
  const std::int64_t half = x_BTHh.size(3) / 2;
  const auto* cos = tables.cos_TF.const_data_ptr<float>();
  const auto* sin = tables.sin_TF.const_data_ptr<float>();
  const T* x = x_BTHh.const_data_ptr<T>();
  T* y = y_BTHh.data_ptr<T>();
  const std::int64_t num_vectors = x_BTHh.numel() / (2 * half);
  for (std::int64_t v = 0; v < num_vectors; ++v, x += 2 * half, y += 2 * half) {
    const std::int64_t position = v / num_heads % num_positions;
    const float *c = cos + position * half, *s = sin + position * half;
    for (std::int64_t f = 0; f < half; ++f) {
      const T turned_s = direction * static_cast<T>(s[f]);
      y[f] = x[f] * static_cast<T>(c[f]) - x[f + half] * turned_s;
      y[f + half] = x[f + half] * static_cast<T>(c[f]) + x[f] * turned_s;
    }
  }
}

at::Tensor turned(const at::Tensor& x_BTHh, const RotaryTables& tables, int direction) {
  const at::Tensor x = x_BTHh.contiguous();
  at::Tensor y = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rotate", [&] {
    turn<scalar_t>(x, tables, static_cast<scalar_t>(direction), y);
  });
  return y;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTHh,
                            const RotaryTables& tables) {
    context->saved_data["cos"] = tables.cos_TF;
    context->saved_data["sin"] = tables.sin_TF;
    return turned(x_BTHh, tables, 1);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const RotaryTables tables{context->saved_data["cos"].toTensor(),
                              context->saved_data["sin"].toTensor()};
    return {turned(gradients[0], tables, -1), at::Tensor()};
  }
};

}  // namespace

RotaryTables rotary_tables(std::int64_t num_positions, int head_dim, double theta) {
  const at::Tensor exponent_F =
      at::arange(0, head_dim, 2, at::TensorOptions(at::kFloat)) / static_cast<double>(head_dim);
  const at::Tensor frequency_F = at::reciprocal(at::pow(theta, exponent_F));
  const at::Tensor position_T = at::arange(num_positions, at::TensorOptions(at::kFloat));
  const at::Tensor angle_TF = position_T.unsqueeze(1) * frequency_F.unsqueeze(0);
  return {angle_TF.cos(), angle_TF.sin()};
}

at::Tensor rotate(const at::Tensor& x_BTHh, const RotaryTables& tables) {
  const bool plain = x_BTHh.is_cpu() && x_BTHh.scalar_type() == wide_type(x_BTHh.scalar_type());
  return plain ? Rotate::apply(x_BTHh, tables) : rotate_reference(x_BTHh, tables);
}

at::Tensor rotate_reference(const at::Tensor& x_BTHh, const RotaryTables& tables) {
  const auto options = x_BTHh.options().requires_grad(false);
  const at::Tensor cos_T1F = tables.cos_TF.to(options).unsqueeze(1);
  const at::Tensor sin_T1F = tables.sin_TF.to(options).unsqueeze(1);
  const auto halves = x_BTHh.chunk(2, -1);
  return at::cat(
      {halves[0] * cos_T1F - halves[1] * sin_T1F, halves[1] * cos_T1F + halves[0] * sin_T1F}, -1);
}

}  // namespace talpa::nn
