#pragma once

#include <cstdint>

namespace talpa {

/// y = (x - mean x) / sqrt(var x + eps) * weight + bias; y may be x.
void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y,
                std::int64_t n);

/// x = gelu(x + bias), gelu(v) = v (1 + erf(v / sqrt 2)) / 2, within 2e-7 max(1, |v|) of the exact
/// function.
void add_bias_and_gelu(const float* bias, float* x, std::int64_t n);

}  // namespace talpa
