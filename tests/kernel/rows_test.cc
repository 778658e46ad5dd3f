#include <gtest/gtest.h>

#include <functional>

#include "kernel/kernel_cases.h"

namespace talpa::testing {
namespace {

using kernel::RowFunctions;

/// One operation on n elements of x (with y as a second operand), the outcome as floats.
struct RowCase {
  const char* name;
  std::function<std::vector<float>(const RowFunctions&, std::vector<float> x, std::vector<float> y)>
      run;
};

const std::vector<RowCase> kRowCases = {
    {"rms_norm",
     [](const RowFunctions& f, auto x, auto y) {
       f.rms_norm(x.data(), y.data(), 1e-5f, x.data(), static_cast<std::int64_t>(x.size()));
       return x;
     }},
    {"rotate",
     [](const RowFunctions& f, auto x, auto y) {
       x.resize(x.size() / 2 * 2);
       f.rotate(x.data(), y.data(), y.data() + x.size() / 2,
                static_cast<std::int64_t>(x.size() / 2));
       return x;
     }},
    {"silu_mul",
     [](const RowFunctions& f, auto x, auto y) {
       f.silu_mul(x.data(), y.data(), x.data(), static_cast<std::int64_t>(x.size()));
       return x;
     }},
    {"max", [](const RowFunctions& f, auto x,
               auto) { return std::vector{f.max(x.data(), static_cast<std::int64_t>(x.size()))}; }},
    {"exp",
     [](const RowFunctions& f, auto x, auto) {
       const float sum = f.exp(x.data(), 0.5f, 2.0f, static_cast<std::int64_t>(x.size()));
       x.push_back(sum);
       return x;
     }},
    {"axpy", [](const RowFunctions& f, auto x, auto y) {
       f.axpy(0.3f, x.data(), y.data(), static_cast<std::int64_t>(x.size()));
       return y;
     }}};

TEST(RowsTest, EveryImplementationEqualsTheReference) {
  for (const auto& impl : kernel::row_implementations()) {
    if (!impl.available()) continue;
    for (const RowCase& c : kRowCases)
      for (const std::int64_t n : {1, 2, 7, 8, 9, 16, 31, 64, 100, 576}) {
        const auto x = random_floats(n, 1), y = random_floats(n, 2);
        EXPECT_LT(largest_difference(c.run(*impl.functions, x, y),
                                     c.run(kernel::row_functions_reference(), x, y)),
                  2e-6 * std::sqrt(n) + 1e-6)
            << impl.name << " " << c.name << " " << n;
      }
  }
}

TEST(RowsTest, ExponentialsAtTheEdges) {
  for (const auto& impl : kernel::row_implementations()) {
    if (!impl.available()) continue;
    std::vector<float> x = {-1000, -88, -87, -1e-8f, 0, 1, 60, 88};
    const std::vector<float> before = x;
    impl.functions->exp(x.data(), 1, 0, 8);
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(x[i], std::exp(before[i]), 3e-7 * std::exp(before[i]) + 1e-37) << before[i];
  }
}

/// Bit for bit, with ties, subnormals, what lies beyond the range, infinities and NaN.
TEST(RowsTest, NarrowsToHalvesLikeTheReference) {
  std::vector<float> x = {0,      -0.0f,    1 + 0x1p-11f, 1 + 0x3p-11f, 65504,   65519,
                          65520,  1e30f,    -1e9f,        1e-7f,        5.9e-8f, 2.9e-8f,
                          -6e-5f, INFINITY, -INFINITY,    NAN};
  for (const float v : random_floats(21, 9)) x.push_back(v * 100);
  std::vector<std::uint16_t> expected(x.size()), actual(x.size());
  const auto n = static_cast<std::int64_t>(x.size());
  kernel::row_functions_reference().to_f16(x.data(), expected.data(), n);
  EXPECT_EQ(expected[6], 0x7bff);
  for (const auto& impl : kernel::row_implementations()) {
    if (!impl.available()) continue;
    impl.functions->to_f16(x.data(), actual.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(f16_to_float(actual[i])));
      } else {
        EXPECT_EQ(actual[i], expected[i]) << impl.name << " " << x[i];
      }
    }
  }
}

TEST(RowsTest, QuantisesWithinHalfAStep) {
  for (const auto& impl : kernel::row_implementations()) {
    if (!impl.available()) continue;
    std::vector<float> x = random_floats(96, 4);
    std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
    std::int8_t q[96];
    float scale[3];
    std::int32_t sum[3];
    impl.functions->quantise(x.data(), 3, q, scale, sum);
    for (int b = 0; b < 3; ++b) {
      int total = 0;
      for (int i = 32 * b; i < 32 * b + 32; ++i) {
        EXPECT_NEAR(q[i] * scale[b], x[i], scale[b] * 0.5001) << impl.name;
        total += q[i];
      }
      EXPECT_EQ(total, sum[b]);
    }
    EXPECT_EQ(scale[1], 0);
  }
}

}  // namespace
}  // namespace talpa::testing
