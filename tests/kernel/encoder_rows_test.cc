#include "talpa/kernel/encoder_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace talpa::testing {
namespace {

TEST(EncoderRowsTest, GeluIsTheExactOne) {
  std::vector<float> x, bias;
  for (double v = -12; v <= 12; v += 1.0 / 512) {
    x.push_back(static_cast<float>(v - 0.25));
    bias.push_back(0.25f);
  }
  const std::vector<float> before = x;
  add_bias_and_gelu(bias.data(), x.data(), static_cast<std::int64_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = static_cast<double>(before[i]) + 0.25;
    const double expected = v * (1 + std::erf(v / std::sqrt(2.0))) / 2;
    EXPECT_NEAR(x[i], expected, 2e-7 * std::max(1.0, std::abs(v))) << v;
  }
}

TEST(EncoderRowsTest, LayerNormIsTheDefinition) {
  for (const std::int64_t n : {1, 7, 16, 48, 385}) {
    std::vector<float> x, weight, bias, y(static_cast<std::size_t>(n));
    double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      x.push_back(static_cast<float>(3 + std::sin(1.7 * static_cast<double>(i))));
      weight.push_back(static_cast<float>(i % 5) - 1.5f);
      bias.push_back(static_cast<float>(i % 3));
      mean += x.back() / static_cast<double>(n);
    }
    for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, y.data(), n);
    for (std::size_t i = 0; i < y.size(); ++i)
      EXPECT_NEAR(y[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i], 2e-5);
    layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, x.data(), n);  // in place
    EXPECT_EQ(x, y);
  }
}

}  // namespace
}  // namespace talpa::testing
