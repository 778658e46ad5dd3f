#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "kernel/amx_case.h"
#include "kernel/amx_trap.h"
#include "talpa/base/cpu.h"

namespace talpa::testing {
namespace {

class AmxTest : public ::testing::TestWithParam<std::tuple<Runner, DType>> {
 protected:
  void SetUp() override {
    const CpuFeatures& cpu = cpu_features();
    if (runner() == Runner::kHardware && !cpu.amx) GTEST_SKIP() << "this machine lacks AMX";
    if (runner() != Runner::kTrapped) return;
    if (cpu.amx) GTEST_SKIP() << "this machine has AMX and needs no emulation";
    if (!cpu.avx512_vnni) GTEST_SKIP() << "this machine lacks AVX-512 VNNI, used beside the tiles";
    trap_ = std::make_unique<AmxTrap>();
  }
  Runner runner() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
  PanelFunction function() const { return function_for(functions_of(runner()), dtype()); }

  /// Blocks follow the reference bit by bit. bf16 sums in fp32 what it sums in double: every 32
  /// columns a rounding to 2^-24 of a sum of about sqrt(columns).
  void expect_reference(const MatmulShape& s, const CaseOptions& options) {
    SCOPED_TRACE(fmt::format("{} x {} x {}, accumulate {}, gathered {}", s.rows, s.out, s.in,
                             options.accumulate, options.gathered));
    const AmxCase c(dtype(), s, options);
    const std::vector<float> expected = c.expected(), actual = c.run(function());
    if (is_quantised(dtype()) || options.integers)
      EXPECT_TRUE(actual == expected) << "by " << largest_difference(actual, expected);
    else
      EXPECT_LT(largest_difference(actual, expected), 1e-6 * std::sqrt(s.in) + 0x1p-24 * s.in);
  }

 private:
  std::unique_ptr<AmxTrap> trap_;
};

/// Around a tile in every direction: a row, a column, half a tile, one more.
TEST_P(AmxTest, EqualsReference) {
  const MatmulShape shapes[] = {{1, 16, 32},   {1, 1, 1},     {2, 33, 96},   {7, 16, 64},
                                {8, 20, 40},   {15, 48, 31},  {16, 16, 32},  {17, 40, 33},
                                {24, 32, 62},  {31, 47, 288}, {33, 80, 257}, {48, 5, 64},
                                {67, 48, 300}, {64, 16, 1056}};
  for (const MatmulShape& s : shapes)
    for (const bool accumulate : {false, true})
      for (const bool gathered : {false, true})
        expect_reference(s, {.accumulate = accumulate, .gathered = gathered});
}

/// Past what is kept in caches at once: rows, panels, columns.
TEST_P(AmxTest, EqualsReferenceInParts) {
  const MatmulShape shapes[] = {{300, 17, 64},  {256, 600, 32}, {260, 20, 1100},
                                {3, 20, 16500}, {1, 8300, 32},  {75, 16, 16640}};
  for (const MatmulShape& s : shapes) expect_reference(s, {});
  if (dtype() == DType::kBF16) expect_reference({256, 520, 1056}, {});  // panels and columns
}

/// Small whole numbers leave nothing to round: bf16 too must then agree to the bit.
TEST_P(AmxTest, IsExactForIntegers) {
  for (const MatmulShape& s : {MatmulShape{19, 37, 131}, {1, 16, 65}, {40, 21, 640}})
    for (const bool accumulate : {false, true})
      expect_reference(s, {.accumulate = accumulate, .gathered = true, .integers = true});
}

TEST_P(AmxTest, RowsDoNotDependOnTheirCompany) {
  const AmxCase c(dtype(), {45, 50, 224}, {.gathered = true});
  const std::vector<float> together = c.run(function());
  const std::int64_t stride = c.task().y_stride;
  for (int first = 0, count = 1; first + count <= 45; first += count++) {
    const std::vector<float> y = c.run(function(), first, count);
    EXPECT_TRUE(std::equal(y.begin() + first * stride, y.begin() + (first + count) * stride,
                           together.begin() + first * stride))
        << count << " rows";
  }
}

TEST_P(AmxTest, RunsInManyThreadsAndLeavesNoTileBehind) {
  const AmxCase c(dtype(), {21, 40, 96});
  const AmxCase other(dtype() == DType::kBF16 ? DType::kQ8_0 : DType::kBF16, {18, 16, 64});
  const PanelFunction other_function =
      function_for(functions_of(runner()), dtype() == DType::kBF16 ? DType::kQ8_0 : DType::kBF16);
  const std::vector<float> expected = c.run(function()), other_expected = other.run(other_function);
  std::atomic<int> wrong = 0, configured = 0;
  ThreadPool pool(4);
  pool.parallel_for(32, 1, [&](std::int64_t begin, std::int64_t) {
    const bool second = begin % 2 != 0;
    if (second ? other.run(other_function) != other_expected : c.run(function()) != expected)
      ++wrong;
    if (TileMachine::of_this_thread().configured()) ++configured;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(configured, 0);
}

TEST_P(AmxTest, KeepsNotANumberInItsRow) {
  if (dtype() != DType::kBF16) GTEST_SKIP() << "int8 has none";
  AmxCase c(dtype(), {20, 18, 40});
  c.set(3, 5, NAN);
  c.set(17, 39, INFINITY);
  const std::vector<float> y = c.run(function());
  for (int r = 0; r < 20; ++r)
    for (int n = 0; n < 18; ++n)
      EXPECT_EQ(std::isfinite(y[r * c.task().y_stride + n]), r != 3 && r != 17) << r << " " << n;
}

/// Blocks of a few rows go to the vector kernels, bf16 never.
TEST_P(AmxTest, UsesTilesWhereTheyPay) {
  if (runner() == Runner::kHardware) GTEST_SKIP() << "products are counted by the emulation";
  const auto products = [&](int rows) {
    const int before = TileMachine::of_this_thread().products();
    AmxCase(dtype(), {rows, 16, 32}).run(function());
    return TileMachine::of_this_thread().products() - before;
  };
  const int few = dtype() == DType::kBF16 ? 1 : 0;
  EXPECT_EQ(products(1), few);
  EXPECT_EQ(products(kernel::kFewestRows - 1), few);
  EXPECT_EQ(products(kernel::kFewestRows), 1);
  EXPECT_EQ(products(16), 1);
  EXPECT_EQ(products(17), 1 + few);
  EXPECT_EQ(products(31), 2);
}

std::string amx_case_name(const ::testing::TestParamInfo<AmxTest::ParamType>& info) {
  const char* names[] = {"plain", "trapped", "hardware"};
  return fmt::format("{}_{}", names[static_cast<int>(std::get<0>(info.param))],
                     name_of(std::get<1>(info.param)));
}
INSTANTIATE_TEST_SUITE_P(All, AmxTest,
                         ::testing::Combine(::testing::Values(Runner::kPlain, Runner::kTrapped,
                                                              Runner::kHardware),
                                            ::testing::ValuesIn(kAmxTypes)),
                         amx_case_name);

TEST(AmxImplementationTest, IsTheFirstChoiceWhereItRuns) {
  const auto& amx = kernel::matmul_implementations().front();
  ASSERT_STREQ(amx.name, "amx");
  EXPECT_EQ(amx.available(), cpu_features().amx && cpu_features().avx512_vnni);
  EXPECT_TRUE(amx.bf16_activations && amx.quantised_activations);
  EXPECT_EQ(amx.function(DType::kF32), nullptr);
  const std::string in_use = kernel::implementations_in_use();
  EXPECT_EQ(in_use.find("blocks amx, bf16 amx") != std::string::npos, amx.available()) << in_use;
}

}  // namespace
}  // namespace talpa::testing
