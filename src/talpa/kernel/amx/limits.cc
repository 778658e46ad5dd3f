#include "talpa/kernel/amx/tiles.h"
#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {
namespace {

using Tiles = HardwareTiles;
/// Four sums of two tiles of activations and two of weights, twice.
constexpr int kDotsPerRound = 8;
/// Of one int8 tile product; bf16 does half as many.
constexpr std::int64_t kMultiplyAdds = kTileRows * kTileRows * kTileRowBytes;

struct Int8Dot {
  template <int C, int A, int B>
  static void run() {
    Tiles::dot_int8<C, A, B>();
  }
};
struct Bf16Dot {
  template <int C, int A, int B>
  static void run() {
    Tiles::dot_bf16<C, A, B>();
  }
};

template <class Dot>
float multiply_add(std::int64_t rounds) {
  constexpr int kA = kActivationTile, kB = kWeightTile, kC = kSumTile;
  alignas(64) std::int32_t memory[kTileBytes / 4];
  for (std::int32_t& word : memory) word = 0x3f803f80;  // bf16 ones, or int8 of any size
  const TileScope<Tiles> scope(tile_config(kTileRowBytes));
  Tiles::load<kA>(memory, kTileRowBytes);
  Tiles::load<kA + 1>(memory, kTileRowBytes);
  Tiles::load<kB>(memory, kTileRowBytes);
  Tiles::load<kB + 1>(memory, kTileRowBytes);
  Tiles::zero<kC>();
  Tiles::zero<kC + 1>();
  Tiles::zero<kC + 2>();
  Tiles::zero<kC + 3>();
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int twice = 0; twice < kDotsPerRound / 4; ++twice) {
      Dot::template run<kC, kA, kB>();
      Dot::template run<kC + 1, kA, kB + 1>();
      Dot::template run<kC + 2, kA + 1, kB>();
      Dot::template run<kC + 3, kA + 1, kB + 1>();
    }
  Tiles::store<kC>(memory, kTileRowBytes);
  return static_cast<float>(memory[0]);
}

}  // namespace

LimitFunctions limit_functions_amx() {
  return {.name = "amx",
          .int8 = {"amx tdpbssd", 2 * kDotsPerRound * kMultiplyAdds, multiply_add<Int8Dot>},
          .bf16 = {"amx tdpbf16ps", kDotsPerRound * kMultiplyAdds, multiply_add<Bf16Dot>}};
}

}  // namespace talpa::kernel
