// Q3_0 and Q2_0, talpa's own formats.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/base/random.h"
#include "talpa/format/block_rounding.h"
#include "talpa/format/gguf.h"
#include "talpa/format/repack.h"

namespace talpa::testing {
namespace {

std::vector<float> widened(DType dtype, const std::vector<std::byte>& bytes) {
  const DTypeInfo& info = info_of(dtype);
  const auto blocks = bytes.size() / static_cast<std::size_t>(info.block_bytes);
  std::vector<float> floats(blocks * static_cast<std::size_t>(info.block_size));
  to_float(dtype, bytes.data(), floats.data(), static_cast<std::int64_t>(floats.size()));
  return floats;
}

std::vector<std::byte> narrowed(DType dtype, const std::vector<float>& floats) {
  std::vector<std::byte> bytes(bytes_of(dtype, floats.size()));
  from_float(dtype, floats.data(), bytes.data(), static_cast<std::int64_t>(floats.size()));
  return bytes;
}

/// Blocks of random codes with scales of both signs, from subnormal to large.
std::vector<std::byte> random_blocks(DType dtype, int count) {
  Random random(7);
  const auto size = static_cast<std::size_t>(info_of(dtype).block_bytes);
  std::vector<std::byte> bytes(size * static_cast<std::size_t>(count));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.below(256));
  for (int i = 0; i < count; ++i) {
    const float scale = std::ldexp(i % 2 ? -1.37f : 1.91f, i % 36 - 23);
    const std::uint16_t bits = float_to_f16(scale);
    std::memcpy(&bytes[size * static_cast<std::size_t>(i)], &bits, 2);
  }
  return bytes;
}

std::vector<float> normal_numbers(int count) {
  Random random(3);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(random.normal()) * 0.02f;
  return values;
}

double squared_error(const float* x, float d, detail::BlockLevels levels) {
  double error = 0;
  for (int i = 0; i < 32; ++i) {
    const double q =
        std::clamp(std::round(double{x[i]} / d), double(levels.least), double(levels.greatest));
    error += std::pow(x[i] - d * q, 2);
  }
  return error;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) error += std::pow(double{a[i]} - b[i], 2);
  return error;
}

class LowBits : public ::testing::TestWithParam<DType> {};

TEST_P(LowBits, WhatTheyHoldComesBackExactly) {
  const auto blocks = random_blocks(GetParam(), 500);
  const std::vector<float> exact = widened(GetParam(), blocks);
  const auto again = narrowed(GetParam(), exact);
  EXPECT_EQ(widened(GetParam(), again), exact);
  EXPECT_EQ(narrowed(GetParam(), widened(GetParam(), again)), again);
}

/// A block whose largest element lies on the level farthest from zero has one form.
TEST_P(LowBits, FullBlocksComeBackByteForByte) {
  auto blocks = random_blocks(GetParam(), 500);
  const auto size = static_cast<std::size_t>(info_of(GetParam()).block_bytes);
  for (std::size_t at = 0; at < blocks.size(); at += size) {
    blocks[at + 2] &= std::byte{0xfc};  // code 0 for element 0
    if (GetParam() == DType::kQ3_0) blocks[at + 10] &= std::byte{0xfe};
  }
  EXPECT_EQ(narrowed(GetParam(), widened(GetParam(), blocks)), blocks);
}

TEST_P(LowBits, TheScaleIsNearlyTheBestThereIs) {
  const std::vector<float> x = normal_numbers(32 * 200);
  const detail::BlockLevels levels = levels_of(GetParam());
  double found = 0, best = 0, by_largest = 0;
  for (std::size_t at = 0; at < x.size(); at += 32) {
    float largest = 0;
    for (std::size_t i = at; i < at + 32; ++i)
      if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
    const float d = best_scale_of(GetParam(), &x[at]);
    EXPECT_EQ(f16_to_float(float_to_f16(d)), d);
    found += squared_error(&x[at], d, levels);
    by_largest += squared_error(&x[at], largest / static_cast<float>(levels.least), levels);
    double least = INFINITY;
    for (int i = 1; i <= 4000; ++i) {
      const float scale = largest * static_cast<float>(i) / 2000;
      for (const float sign : {-1.0f, 1.0f})
        least = std::min(least, squared_error(&x[at], sign * scale, levels));
    }
    best += least;
  }
  EXPECT_LT(found, 1.01 * best);
  EXPECT_LT(found, 0.9 * by_largest);
}

TEST_P(LowBits, ErrorOfNormalNumbers) {
  const std::vector<float> x = normal_numbers(32 * 2000);
  const double relative = squared_error(widened(GetParam(), narrowed(GetParam(), x)), x) /
                          squared_error(x, std::vector<float>(x.size()));
  const double bound = GetParam() == DType::kQ3_0 ? 0.0275 : 0.113;
  EXPECT_LT(relative, bound);
  EXPECT_GT(relative, 0.9 * bound);
}

TEST_P(LowBits, LargerBlocksHoldThemExactly) {
  const auto blocks = random_blocks(GetParam(), 100);
  const std::vector<float> exact = widened(GetParam(), blocks);
  for (const DType wider : {DType::kQ4_0, DType::kQ8_0}) {
    std::vector<std::byte> bytes(bytes_of(wider, exact.size()));
    repack(GetParam(), wider, blocks.data(), bytes.data(), static_cast<std::int64_t>(exact.size()));
    EXPECT_EQ(widened(wider, bytes), exact);
  }
}

TEST_P(LowBits, ExtremesAreDefined) {
  for (const float extreme : {NAN, INFINITY, -INFINITY, 1e-45f, 3e38f, 1e6f}) {
    std::vector<float> values(32, extreme);
    values[9] = 0;
    const auto bytes = narrowed(GetParam(), values);
    const std::vector<float> wide = widened(GetParam(), bytes);
    if (std::abs(extreme) < 1) {
      EXPECT_EQ(wide, std::vector<float>(32));
    }
    if (extreme == 1e6f) {
      EXPECT_GE(wide[0], 65504);
    }
  }
  const std::vector<float> zeros(32);
  EXPECT_EQ(widened(GetParam(), narrowed(GetParam(), zeros)), zeros);
}

TEST_P(LowBits, AFileHoldsThemUnderNumbersOfItsOwn) {
  Scratch scratch;
  const auto bytes = random_blocks(GetParam(), 4);
  GgufWriter writer(scratch / "m.gguf", {}, {{"w", GetParam(), {2, 64}}});
  writer.write("w", bytes);
  writer.finish();
  const auto file = GgufFile::open(scratch / "m.gguf");
  EXPECT_EQ(file->at("w").dtype, GetParam());
  EXPECT_EQ(read_floats(file->at("w")), widened(GetParam(), bytes));
  const char id[] = {static_cast<char>(GetParam() == DType::kQ3_0 ? 3 : 2), 'l', 'a', 't'};
  EXPECT_NE(read_text(scratch / "m.gguf").find(std::string(id, 4)), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Types, LowBits, ::testing::Values(DType::kQ3_0, DType::kQ2_0),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(LowBitsLayout, IsAsWritten) {
  std::vector<std::byte> three(14), two(10);
  const std::uint16_t half = float_to_f16(0.5f);
  std::memcpy(three.data(), &half, 2);
  std::memcpy(two.data(), &half, 2);
  three[2] = two[2] = std::byte{0b11'10'01'00};  // elements 24, 16, 8, 0
  three[10] = std::byte{0b00000001};             // the third bit of element 0
  three[13] = std::byte{0b00000001};             // of element 24
  const std::vector<float> wide = widened(DType::kQ3_0, three);
  EXPECT_EQ(wide[0], 0.5f * (4 + 0 - 4));
  EXPECT_EQ(wide[8], 0.5f * (1 - 4));
  EXPECT_EQ(wide[16], 0.5f * (2 - 4));
  EXPECT_EQ(wide[24], 0.5f * (4 + 3 - 4));
  EXPECT_EQ(wide[1], 0.5f * -4);
  const std::vector<float> narrow = widened(DType::kQ2_0, two);
  EXPECT_EQ(narrow[0], 0.5f * -2);
  EXPECT_EQ(narrow[8], 0.5f * -1);
  EXPECT_EQ(narrow[16], 0.0f);
  EXPECT_EQ(narrow[24], 0.5f);
  EXPECT_EQ(narrow[1], 0.5f * -2);
}

TEST(BlockRounding, StoresWhatItIsGiven) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ3_0, DType::kQ2_0}) {
    const detail::BlockLevels levels = levels_of(dtype);
    std::int8_t q[32];
    const int width = levels.greatest - levels.least + 1;
    for (int i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(levels.least + i * 5 % width);
    std::vector<std::byte> bytes(bytes_of(dtype, 32));
    store_block(dtype, -0.25f, q, bytes.data());
    const std::vector<float> floats = widened(dtype, bytes);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(floats[i], -0.25f * static_cast<float>(q[i]));
    EXPECT_EQ(squared_error(floats.data(), best_scale_of(dtype, floats.data()), levels), 0)
        << name_of(dtype);
  }
  EXPECT_TALPA_ERROR(levels_of(DType::kQ4_1), kUnsupported, "q4_1");
  EXPECT_FALSE(has_levels(DType::kF16));
}

}  // namespace
}  // namespace talpa::testing
