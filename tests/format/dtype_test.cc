#include "talpa/format/dtype.h"

#include <gtest/gtest.h>
#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "scratch.h"
#include "talpa/base/cpu.h"

namespace talpa {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
std::vector<float> widened(DType dtype, const std::vector<T>& values) {
  std::vector<float> out(values.size());
  to_float(dtype, reinterpret_cast<const std::byte*>(values.data()), out.data(),
           static_cast<std::int64_t>(out.size()));
  return out;
}

TEST(DType, NamesAndSizes) {
  EXPECT_EQ(dtype_named("bf16"), DType::kBF16);
  EXPECT_EQ(dtype_named("BF16"), DType::kBF16);
  EXPECT_EQ(dtype_named("q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_named("Q4_K"), DType::kQ4_K);
  EXPECT_EQ(dtype_named("f8"), std::nullopt);
  EXPECT_EQ(dtype_named(""), std::nullopt);
  EXPECT_STREQ(name_of(DType::kQ8_0), "q8_0");
  EXPECT_TRUE(is_float(DType::kF64));
  EXPECT_FALSE(is_float(DType::kQ4_0));
  EXPECT_TRUE(is_quantised(DType::kQ6_K));
  EXPECT_FALSE(is_quantised(DType::kI8));
}

TEST(DType, BytesOfWholeBlocks) {
  EXPECT_EQ(bytes_of(DType::kF64, 3), 24u);
  EXPECT_EQ(bytes_of(DType::kQ8_0, 64), 68u);
  EXPECT_EQ(bytes_of(DType::kQ4_K, 512), 288u);
  EXPECT_EQ(bytes_of(DType::kQ6_K, 0), 0u);
  EXPECT_TALPA_ERROR(bytes_of(DType::kQ8_0, 33), kShape, "33 elements are not whole blocks");
  EXPECT_TALPA_ERROR(bytes_of(DType::kF64, 1ull << 61), kFormat, "more bytes than 64 bits");
}

TEST(DType, IntegersAreConvertedByValue) {
  using Floats = std::vector<float>;
  EXPECT_EQ(widened<std::int64_t>(DType::kI64, {-3, 1ll << 40}), (Floats{-3, 0x1p40f}));
  EXPECT_EQ(widened<std::int32_t>(DType::kI32, {-3, 7}), (Floats{-3, 7}));
  EXPECT_EQ(widened<std::int16_t>(DType::kI16, {-300, 7}), (Floats{-300, 7}));
  EXPECT_EQ(widened<std::int8_t>(DType::kI8, {-128, 127}), (Floats{-128, 127}));
  EXPECT_EQ(widened<std::uint8_t>(DType::kU8, {0, 255}), (Floats{0, 255}));
  EXPECT_EQ(widened<std::uint8_t>(DType::kBool, {0, 1, 2}), (Floats{0, 1, 1}));
  EXPECT_EQ(widened<double>(DType::kF64, {0.1, -1e300}), (Floats{0.1f, -kInfinity}));
}

TEST(DType, UnalignedSourcesAreRead) {
  std::vector<std::byte> bytes(1 + 4 * 5);
  const float values[] = {1, -2, 3.5f, 0, 1e-40f};
  std::memcpy(bytes.data() + 1, values, sizeof values);
  std::vector<float> out(5);
  to_float(DType::kF32, bytes.data() + 1, out.data(), 5);
  EXPECT_EQ(out, std::vector<float>(values, values + 5));
}

TEST(DType, BFloat16RoundsToNearestEven) {
  const struct {
    float value;
    std::uint16_t bits;
  } rows[] = {
      {1.0f, 0x3f80},
      {-2.0f, 0xc000},
      {0.0f, 0},
      {-0.0f, 0x8000},
      {kInfinity, 0x7f80},
      {std::bit_cast<float>(0x3f808000u), 0x3f80},  // a tie goes to the even neighbour
      {std::bit_cast<float>(0x3f818000u), 0x3f82},
      {std::bit_cast<float>(0x3f808001u), 0x3f81},
      {std::numeric_limits<float>::max(), 0x7f80},
      {std::bit_cast<float>(0x00010000u), 0x0001},
  };
  for (const auto& row : rows) EXPECT_EQ(float_to_bf16(row.value), row.bits) << row.value;
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(kNan))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, HalfRoundsToNearestEven) {
  const struct {
    float value;
    std::uint16_t bits;
  } rows[] = {
      {1.0f, 0x3c00},
      {-2.0f, 0xc000},
      {65504.0f, 0x7bff},
      {65520.0f, 0x7c00},
      {65519.0f, 0x7bff},
      {kInfinity, 0x7c00},
      {-kInfinity, 0xfc00},
      {0x1p-24f, 0x0001},
      {0x1p-25f, 0x0000},
      {0x1.8p-25f, 0x0001},
      {0x1p-14f, 0x0400},
      {1.0f + 0x1p-11f, 0x3c00},
      {1.0f + 0x3p-11f, 0x3c02},
      {-0.0f, 0x8000},
      {1e-40f, 0x0000},
  };
  for (const auto& row : rows) EXPECT_EQ(float_to_f16(row.value), row.bits) << row.value;
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(kNan))));
}

TEST(DType, EveryHalfIsWidenedExactlyAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_float(static_cast<std::uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const int mantissa = static_cast<int>(bits & 1023);
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31 && mantissa != 0) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    const float magnitude = exponent == 31 ? kInfinity
                            : exponent == 0
                                ? std::ldexp(static_cast<float>(mantissa), -24)
                                : std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25);
    ASSERT_EQ(value, sign * magnitude) << bits;
    ASSERT_EQ(float_to_f16(value), bits);
  }
}

[[gnu::target("f16c")]] std::uint16_t narrow_in_hardware(float value) {
  return static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
}

TEST(DType, HalfAgreesWithTheHardware) {
  if (!cpu_features().avx2) GTEST_SKIP() << "this CPU has no F16C";
  for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 4099) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    ASSERT_EQ(float_to_f16(value), narrow_in_hardware(value)) << bits;
  }
}

TEST(DType, RowsEqualSingleElements) {
  std::vector<float> values;
  for (int i = 0; i < 1003; ++i)
    values.push_back(std::ldexp(std::sin(static_cast<float>(i)), i % 40 - 25));
  const auto count = static_cast<std::int64_t>(values.size());
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const bool half = dtype == DType::kF16;
    std::vector<std::uint16_t> bits(values.size());
    from_float(dtype, values.data(), reinterpret_cast<std::byte*>(bits.data()), count);
    const std::vector<float> back = widened(dtype, bits);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(bits[i], half ? float_to_f16(values[i]) : float_to_bf16(values[i])) << i;
      ASSERT_EQ(back[i], half ? f16_to_float(bits[i]) : bf16_to_float(bits[i])) << i;
    }
  }
}

TEST(DType, OnlySomeTypesAreWritten) {
  const std::vector<float> values(256, 1.0f);
  std::vector<std::byte> out(2048);
  for (const DType dtype : {DType::kF64, DType::kI32, DType::kBool, DType::kQ5_0, DType::kQ6_K})
    EXPECT_TALPA_ERROR(from_float(dtype, values.data(), out.data(), 256), kUnsupported,
                       std::string("cannot write ") + name_of(dtype));
}

// Under the sanitizers this also shows that no conversion leaves its type.
TEST(DType, BlocksOfExtremesAreDefined) {
  const float extremes[] = {kNan, kInfinity, -kInfinity, 1e-45f, 1e-39f, 3e38f};
  for (const float extreme : extremes) {
    std::vector<float> values(32, extreme);
    values[7] = 0.0f;
    std::vector<std::byte> bytes(64);
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
      from_float(dtype, values.data(), bytes.data(), 32);
    if (!(std::fabs(extreme) < 1e-30f)) continue;
    std::vector<float> back(32, 1.0f);
    from_float(DType::kQ8_0, values.data(), bytes.data(), 32);
    to_float(DType::kQ8_0, bytes.data(), back.data(), 32);
    EXPECT_EQ(back, std::vector<float>(32, 0.0f)) << extreme;
  }
}

}  // namespace
}  // namespace talpa
