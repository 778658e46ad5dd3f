#include "talpa/format/repack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/format/block_formats.h"

namespace talpa::testing {
namespace {

template <class Block>
std::vector<Block> random_blocks(int count, std::uint64_t seed) {
  Random random(seed);
  std::vector<Block> blocks(static_cast<std::size_t>(count));
  for (Block& block : blocks)
    for (std::size_t i = 0; i < sizeof block; ++i)
      reinterpret_cast<std::uint8_t*>(&block)[i] = static_cast<std::uint8_t>(random.below(256));
  return blocks;
}

void set_scale(std::uint8_t (&bytes)[2], float value) {
  const std::uint16_t bits = float_to_f16(value);
  std::memcpy(bytes, &bits, 2);
}

float scale_of(const std::uint8_t (&bytes)[2]) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  return f16_to_float(bits);
}

template <class Block>
std::vector<float> widened(DType dtype, const std::vector<Block>& blocks) {
  const auto count = static_cast<std::int64_t>(blocks.size()) * Block::kSize;
  std::vector<float> floats(static_cast<std::size_t>(count));
  to_float(dtype, reinterpret_cast<const std::byte*>(blocks.data()), floats.data(), count);
  return floats;
}

template <class To, class From>
std::vector<To> repacked(DType from, DType to, const std::vector<From>& blocks) {
  std::vector<To> target(blocks.size() * (From::kSize / To::kSize));
  repack(from, to, reinterpret_cast<const std::byte*>(blocks.data()),
         reinterpret_cast<std::byte*>(target.data()),
         static_cast<std::int64_t>(blocks.size()) * From::kSize);
  return target;
}

TEST(Repack, FiveAndFourBitsFitIntoEightExactly) {
  auto five = random_blocks<BlockQ5_0>(50, 1);
  auto four = random_blocks<BlockQ4_0>(50, 2);
  for (std::size_t i = 0; i < five.size(); ++i) {
    set_scale(five[i].d, std::ldexp(1.37f, static_cast<int>(i % 38) - 24));
    set_scale(four[i].d, -std::ldexp(1.91f, static_cast<int>(i % 38) - 24));
  }
  EXPECT_EQ(widened(DType::kQ8_0, repacked<BlockQ8_0>(DType::kQ5_0, DType::kQ8_0, five)),
            widened(DType::kQ5_0, five));
  EXPECT_EQ(widened(DType::kQ8_0, repacked<BlockQ8_0>(DType::kQ4_0, DType::kQ8_0, four)),
            widened(DType::kQ4_0, four));
}

/// Super-blocks whose scales are `scale` to twice that.
std::vector<BlockQ4_K> blocks_q4_k(float scale) {
  auto blocks = random_blocks<BlockQ4_K>(64, 3);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const float spread = static_cast<float>(i) / 97;
    set_scale(blocks[i].d, scale * (1 + spread));
    set_scale(blocks[i].m, scale * (2 - spread));
  }
  return blocks;
}

/// From the smallest subnormal scale to the largest that fits.
class RepackQ4K : public ::testing::TestWithParam<float> {};

TEST_P(RepackQ4K, KeepsQuantsAndRoundsScales) {
  const auto from = blocks_q4_k(GetParam());
  const auto to = repacked<BlockQ4_1>(DType::kQ4_K, DType::kQ4_1, from);
  const std::vector<float> expected = widened(DType::kQ4_K, from);
  const std::vector<float> actual = widened(DType::kQ4_1, to);
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const BlockQ4_1& block = to[i / 32];
    const double step = scale_of(block.d), low = -scale_of(block.m);
    const std::size_t place = i % 32;
    const int q = place < 16 ? block.q[place] & 15 : block.q[place - 16] >> 4;
    // The scales here are the rounded ones, hence a little more than 2^-11.
    const double bound = std::ldexp(1.001, -11) * (step * q + low);
    ASSERT_LE(std::abs(double{actual[i]} - expected[i]), bound) << i;
    if (step > 0) largest = std::max(largest, std::abs(double{actual[i]} - expected[i]) / step);
  }
  // Products below 2048 times the smallest subnormal are whole multiples of it.
  if (GetParam() <= 0x1p-20f) {
    EXPECT_EQ(actual, expected);
  } else {
    EXPECT_GT(largest, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, RepackQ4K,
                         ::testing::Values(0x1p-24f, 0x1p-20f, 3e-5f, 8e-5f, 1e-3f, 0.7f, 500.0f));

/// Rounding to Q8_0 is what these blocks had before: its error is five times as large at least.
TEST(Repack, Q4KIsCloserThanEightBits) {
  for (const float scale : {8e-5f, 1e-3f, 0.7f}) {
    const auto from = blocks_q4_k(scale);
    const std::vector<float> exact = widened(DType::kQ4_K, from);
    const auto actual =
        widened(DType::kQ4_1, repacked<BlockQ4_1>(DType::kQ4_K, DType::kQ4_1, from));
    std::vector<BlockQ8_0> eight(exact.size() / 32);
    from_float(DType::kQ8_0, exact.data(), reinterpret_cast<std::byte*>(eight.data()),
               static_cast<std::int64_t>(exact.size()));
    const std::vector<float> rounded = widened(DType::kQ8_0, eight);
    double own = 0, theirs = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      own += std::pow(double{actual[i]} - exact[i], 2);
      theirs += std::pow(double{rounded[i]} - exact[i], 2);
    }
    EXPECT_LT(std::sqrt(own / theirs), 0.2);
  }
}

TEST(Repack, RefusesScalesBeyondHalf) {
  auto blocks = random_blocks<BlockQ4_K>(1, 5);
  std::memset(blocks[0].scales, 0xff, sizeof blocks[0].scales);
  set_scale(blocks[0].m, 0.5f);
  for (const float d : {1040.0f, -1040.0f, INFINITY, NAN}) {
    set_scale(blocks[0].d, d);
    EXPECT_TALPA_ERROR(repacked<BlockQ4_1>(DType::kQ4_K, DType::kQ4_1, blocks), kUnsupported,
                       "16 bits");
  }
  set_scale(blocks[0].d, 1039.0f);
  EXPECT_NO_THROW(repacked<BlockQ4_1>(DType::kQ4_K, DType::kQ4_1, blocks));
  set_scale(blocks[0].m, 1040.0f);
  EXPECT_TALPA_ERROR(repacked<BlockQ4_1>(DType::kQ4_K, DType::kQ4_1, blocks), kUnsupported,
                     "16 bits");
}

TEST(Repack, RefusesOtherPairsAndPartialBlocks) {
  std::byte bytes[256] = {};
  EXPECT_FALSE(can_repack(DType::kQ6_K, DType::kQ8_0));
  EXPECT_FALSE(can_repack(DType::kQ8_0, DType::kQ8_0));
  EXPECT_TALPA_ERROR(repack(DType::kQ6_K, DType::kQ8_0, bytes, bytes, 0), kUnsupported, "q6_k");
  EXPECT_TALPA_ERROR(repack(DType::kQ5_0, DType::kQ8_0, bytes, bytes, 31), kShape, "31");
}

}  // namespace
}  // namespace talpa::testing
