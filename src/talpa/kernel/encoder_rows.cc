#include "talpa/kernel/encoder_rows.h"

#include <algorithm>
#include <cmath>

namespace talpa {

namespace {

constexpr std::int64_t kLanes = 16;

/// Sum of value(i), in lanes that the compiler can keep in registers.
template <class Value>
float sum_of(std::int64_t n, const Value& value) {
  float lanes[kLanes] = {};
  const std::int64_t whole = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes)
    for (std::int64_t k = 0; k < kLanes; ++k) lanes[k] += value(i + k);
  for (std::int64_t i = whole; i < n; ++i) lanes[i - whole] += value(i);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

/// Rational approximation of the error function on [-4, 4], beyond which it is 1 in fp32; the
/// coefficients are those of Eigen's and XLA's.
inline float error_function(float x) {
  x = std::min(std::max(x, -4.0f), 4.0f);
  const float s = x * x;
  float p = -2.72614225801306e-10f;
  p = p * s + 2.77068142495902e-08f;
  p = p * s + -2.10102402082508e-06f;
  p = p * s + -5.69250639462346e-05f;
  p = p * s + -7.34990630326855e-04f;
  p = p * s + -2.95459980854025e-03f;
  p = p * s + -1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * s + -2.13374055278905e-04f;
  q = q * s + -1.68282697438203e-03f;
  q = q * s + -7.37332916720468e-03f;
  q = q * s + -1.42647390514189e-02f;
  return x * p / q;
}

}  // namespace

void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y,
                std::int64_t n) {
  const float count = static_cast<float>(n);
  const float mean = sum_of(n, [&](std::int64_t i) { return x[i]; }) / count;
  const float variance =
      sum_of(n, [&](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / count;
  const float scale = 1 / std::sqrt(variance + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

void add_bias_and_gelu(const float* bias, float* x, std::int64_t n) {
  constexpr float kHalfRoot = 0.70710678118654752f;
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i] + bias[i];
    x[i] = 0.5f * v * (1 + error_function(v * kHalfRoot));
  }
}

}  // namespace talpa
