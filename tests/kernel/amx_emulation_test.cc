#include "kernel/amx_emulation.h"

#include <gtest/gtest.h>

namespace talpa::testing {
namespace {

/// One row of activations, one pair of columns: what the tests above rest on.
class TileMachineTest : public ::testing::Test {
 protected:
  float dot_bf16(std::array<float, 4> a, std::array<float, 4> b, float c) {
    std::array<std::byte, 64> rows[16] = {}, weights[16] = {}, sums[16] = {};
    for (int k = 0; k < 4; ++k) {
      const std::uint16_t x = float_to_bf16(a[k]), w = float_to_bf16(b[k]);
      std::memcpy(rows[0].data() + 2 * k, &x, 2);
      std::memcpy(weights[k / 2].data() + 2 * (k % 2), &w, 2);
    }
    std::memcpy(sums[0].data(), &c, 4);
    const kernel::TileConfig config = kernel::tile_config(64);
    machine_.configure(&config);
    machine_.load(0, sums[0].data(), 64);
    machine_.load(4, rows[0].data(), 64);
    machine_.load(6, weights[0].data(), 64);
    machine_.dot_bf16(0, 4, 6);
    machine_.store(0, sums[0].data(), 64);
    std::memcpy(&c, sums[0].data(), 4);
    return c;
  }
  TileMachine machine_;
};

TEST_F(TileMachineTest, AddsProductsOfBf16AsTheManualSays) {
  EXPECT_EQ(dot_bf16({1, 2, 3, 4}, {5, 6, 7, 8}, 0.5f), 70.5f);
  // 2^24 + 1 is no float: the even chain keeps its 1 only if the odd chain is apart from it.
  EXPECT_EQ(dot_bf16({0x1p24f, 1, -0x1p24f, 1}, {1, 1, 1, 1}, 0), 2.0f);
  EXPECT_EQ(dot_bf16({0x1p24f, 0, 1, 0}, {1, 1, 1, 1}, 0), 0x1p24f);
  EXPECT_EQ(dot_bf16({0x1p-70f, 0, 0, 0}, {0x1p-70f, 0, 0, 0}, 0), 0.0f);  // flushed
  EXPECT_EQ(dot_bf16({0, 0, 0, 0}, {0, 0, 0, 0}, 0x1p-130f), 0.0f);        // read as zero
}

TEST_F(TileMachineTest, FaultsWhereTheProcessorWould) {
  EXPECT_THROW(machine_.zero(0), std::logic_error);
  kernel::TileConfig config = kernel::tile_config(32);
  machine_.configure(&config);
  machine_.dot_int8(0, 4, 6);
  EXPECT_THROW(machine_.dot_int8(0, 4, 4), std::logic_error);
  EXPECT_THROW(machine_.dot_int8(0, 1, 6), std::logic_error);
  config.rows[6] = 17;
  EXPECT_THROW(machine_.configure(&config), std::logic_error);
  config = kernel::tile_config(32);
  config.reserved[3] = 1;
  EXPECT_THROW(machine_.configure(&config), std::logic_error);
  machine_.release();
  EXPECT_THROW(machine_.dot_int8(0, 4, 6), std::logic_error);
}

}  // namespace
}  // namespace talpa::testing
