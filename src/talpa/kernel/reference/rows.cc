#include <algorithm>
#include <cmath>
#include <limits>

#include "talpa/format/dtype.h"
#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {

namespace {

void rms_norm(const float* x, const float* weight, float eps, float* y, std::int64_t n) {
  double squares = 0;
  for (std::int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i] * scale) * weight[i];
}

void rotate(float* v, const float* cos, const float* sin, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = v[i], b = v[half + i];
    v[i] = a * cos[i] - b * sin[i];
    v[half + i] = b * cos[i] + a * sin[i];
  }
}

void silu_mul(const float* gate, const float* up, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

float max(const float* x, std::int64_t n) {
  float best = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) best = std::max(best, x[i]);
  return best;
}

float exp(float* x, float scale, float shift, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(scale * x[i] - shift);
  return static_cast<float>(sum);
}

void axpy(float a, const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

void to_bf16(const float* x, std::uint16_t* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = float_to_bf16(x[i]);
}

void to_f16(const float* x, std::uint16_t* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    y[i] = float_to_f16(std::clamp(x[i], -kLargestF16, kLargestF16));
}

void quantise(const float* x, std::int64_t blocks, std::int8_t* q, float* scale,
              std::int32_t* sum) {
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, q += kBlock) {
    float largest = 0;
    for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(x[i]));
    scale[b] = largest / 127.0f;
    const float inverse = scale[b] > 0 ? 1.0f / scale[b] : 0.0f;
    sum[b] = 0;
    for (int i = 0; i < kBlock; ++i) {
      const float rounded = std::clamp(std::nearbyint(x[i] * inverse), -127.0f, 127.0f);
      q[i] = static_cast<std::int8_t>(std::isnan(rounded) ? 0.0f : rounded);
      sum[b] += q[i];
    }
  }
}

}  // namespace

const RowFunctions& row_functions_reference() {
  static constexpr RowFunctions functions{rms_norm, rotate,  silu_mul, max,     exp,
                                          axpy,     to_bf16, to_f16,   quantise};
  return functions;
}

}  // namespace talpa::kernel
