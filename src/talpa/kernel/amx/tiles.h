#pragma once

#include <cstddef>
#include <cstdint>

/// AMX tiles: 8 registers of up to 16 rows of 64 bytes. Kernels use them through a policy with the
/// members of HardwareTiles, so that the same templates run on an emulation in tests.
namespace talpa::kernel {

/// The operand of LDTILECFG (Intel SDM volume 1, chapter 18), palette 1.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

/// Which tile holds what: sums [16 rows, 16 columns], activations, weights.
constexpr int kSumTile = 0, kActivationTile = 4, kWeightTile = 6, kNumTiles = 8;
constexpr int kTileRows = 16, kTileRowBytes = 64, kTileBytes = kTileRows * kTileRowBytes;

/// Activations [16, k_bytes] times weights [k_bytes / 4, 64]: the weights' rows hold the 4 bytes
/// of neighbouring k for each of 16 columns.
constexpr TileConfig tile_config(int k_bytes) {
  TileConfig config;
  for (int t = 0; t < kNumTiles; ++t) {
    const bool activations = t >= kActivationTile && t < kWeightTile;
    config.row_bytes[t] = static_cast<std::uint16_t>(activations ? k_bytes : kTileRowBytes);
    config.rows[t] = static_cast<std::uint8_t>(t >= kWeightTile ? k_bytes / 4 : kTileRows);
  }
  return config;
}

namespace {

/// The instructions. Not the intrinsics of g++ 12, which tell the compiler of 8 of the 64 bytes of
/// a configuration and of no byte that a tile is loaded from: stores before them may be dropped
/// or moved behind.
struct HardwareTiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  static void release() { asm volatile("tilerelease"); }

  template <int T>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  /// Rows `stride` bytes apart, likewise below.
  template <int T>
  static void load(const void* rows, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(T) : "memory");
  }
  template <int T>
  static void store(void* rows, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(T) : "memory");
  }
  /// Tile C (fp32) += A (bf16) * B (pairs of bf16).
  template <int C, int A, int B>
  static void dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
  /// Tile C (int32) += A (int8) * B (fours of int8).
  template <int C, int A, int B>
  static void dot_int8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

/// This thread's tiles as long as it lives. They are configured for each task, not once a thread:
/// any call may change them (libtorch's kernels do), and released tiles are not saved when the
/// system switches threads.
template <class Tiles>
class TileScope {
 public:
  explicit TileScope(const TileConfig& config) { Tiles::configure(config); }
  ~TileScope() { Tiles::release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace
}  // namespace talpa::kernel
