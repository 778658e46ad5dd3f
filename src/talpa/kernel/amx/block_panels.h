#pragma once

#include "talpa/kernel/amx/common.h"

/// Panels of blocks times rows of int8. One TDPBSSD sums a block of 32 columns for 16 rows and 16
/// columns of y; the sums are stored, and scaled and added in fp32 in the order of the blocks.
/// That is the reference's arithmetic, bit by bit, so the few rows that do not pay for a tile go
/// to the vector kernels unnoticed.
///
/// A policy M has the tiles, few_rows() and, for vectors F of 16 floats, set, load_f16, from_int,
/// mul, fma and write; expand(quants, offset, weights) widens a block of Q4 to int8.
namespace talpa::kernel {
namespace {

/// Rows from which a tile beats the vector kernels, by their instructions: a block of a row costs
/// those about 12, a tile 3 for each of its 16 rows besides its own work.
constexpr int kFewestRows = 8;
/// Blocks summed before the first is scaled, to hide the latency of the tiles.
constexpr int kBlocksAtOnce = 4;
constexpr int kBlockTileBytes = kTileRows * kBlock;
constexpr int kTileElements = kTileRows * kPanelRows;

inline constexpr TileConfig kInt8Tiles = tile_config(kBlock);

struct Q8 {
  static constexpr int kQuantBytes = 512, kScaleBytes = 32;
  static constexpr bool kHasMinimum = false, kIsPacked = false;
  static constexpr PanelFunction PanelFunctions::*kFunction = &PanelFunctions::q8_0;
};

struct Q40 {
  static constexpr int kQuantBytes = 256, kScaleBytes = 32, kOffset = 8;
  static constexpr bool kHasMinimum = false, kIsPacked = true;
  static constexpr PanelFunction PanelFunctions::*kFunction = &PanelFunctions::q4_0;
};

struct Q41 {
  static constexpr int kQuantBytes = 256, kScaleBytes = 64, kOffset = 0;
  static constexpr bool kHasMinimum = true, kIsPacked = true;
  static constexpr PanelFunction PanelFunctions::*kFunction = &PanelFunctions::q4_1;
};

/// Sixteen rows by blocks.
struct BlockRows {
  std::int8_t* q = nullptr;    ///< [blocks, 16, 32]
  float* scale = nullptr;      ///< [blocks, 16]
  float* sum_scale = nullptr;  ///< [blocks, 16]: scale times sum of q; only for minima
};

template <class M, int T>
inline void sum_block(const std::int8_t* q, const std::byte* weights, std::int32_t* sums) {
  constexpr int kA = kActivationTile + T % 2, kB = kWeightTile + T % 2, kC = kSumTile + T;
  M::template load<kA>(q, kBlock);
  M::template load<kB>(weights, kTileRowBytes);
  M::template zero<kC>();
  M::template dot_int8<kC, kA, kB>();
  M::template store<kC>(sums, kTileRowBytes);
}

/// y[16, 16] = 16 rows times a panel, whose blocks are `weights` widened to int8.
template <class M, class Format>
void multiply(const BlockRows& x, const std::byte* weights, const std::byte* scales,
              std::int64_t blocks, float* y) {
  alignas(64) std::int32_t sums[kBlocksAtOnce][kTileElements];
  typename M::F acc[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) acc[r] = M::set(0);
  for (std::int64_t first = 0; first < blocks; first += kBlocksAtOnce) {
    const std::int64_t last = smaller(first + kBlocksAtOnce, blocks);
    unroll<kBlocksAtOnce>([&]<int T>() {
      if (first + T < last)
        sum_block<M, T>(x.q + (first + T) * kBlockTileBytes,
                        weights + (first + T) * kBlockTileBytes, sums[T]);
    });
    for (std::int64_t b = first; b < last; ++b) {
      const std::int32_t* sum = sums[b - first];
      const typename M::F scale = M::load_f16(scales + b * Format::kScaleBytes);
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) {
        const typename M::F both = M::mul(scale, M::set(x.scale[b * kTileRows + r]));
        acc[r] = M::fma(M::from_int(sum + r * kPanelRows), both, acc[r]);
      }
      if constexpr (Format::kHasMinimum) {
        const typename M::F minimum = M::load_f16(scales + b * Format::kScaleBytes + 32);
#pragma GCC unroll 16
        for (int r = 0; r < kTileRows; ++r)
          acc[r] = M::fma(minimum, M::set(x.sum_scale[b * kTileRows + r]), acc[r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) M::write(y + r * kPanelRows, acc[r]);
}

/// Up to kMaxTaskRows rows of a task.
template <class M, class Format>
class TiledBlockRows {
 public:
  TiledBlockRows(const PanelTask& t, int row0, int rows)
      : t_(t),
        row0_(row0),
        rows_(rows),
        blocks_(t.columns / kBlock),
        row_tiles_(static_cast<int>(ceil_div(rows, kTileRows))) {
    const std::int64_t q_bytes = blocks_ * kBlockTileBytes;
    const std::int64_t scale_bytes = blocks_ * kTileRows * static_cast<int>(sizeof(float));
    tile_bytes_ = q_bytes + (Format::kHasMinimum ? 2 : 1) * scale_bytes;
    memory_ = scratch(row_tiles_ * tile_bytes_ + (Format::kIsPacked ? q_bytes : 0));
    for (int tile = 0; tile < row_tiles_; ++tile) gather(tile);
  }

  void run() {
    alignas(64) float y[kTileElements];
    for (int p = 0; p < t_.num_panels; ++p) {
      const std::byte* panel = t_.panels + p * t_.panel_bytes;
      const std::byte* weights = widen(panel);
      for (int tile = 0; tile < row_tiles_; ++tile) {
        multiply<M, Format>(rows_of(tile), weights, panel + blocks_ * Format::kQuantBytes, blocks_,
                            y);
        const int row = tile * kTileRows;
        put_tile(t_, y, row0_ + row, static_cast<int>(smaller(kTileRows, rows_ - row)), p);
      }
    }
  }

 private:
  BlockRows rows_of(int tile) const {
    std::byte* memory = memory_ + tile * tile_bytes_;
    BlockRows x;
    x.q = reinterpret_cast<std::int8_t*>(memory);
    x.scale = reinterpret_cast<float*>(memory + blocks_ * kBlockTileBytes);
    x.sum_scale = x.scale + blocks_ * kTileRows;
    return x;
  }

  /// Rows past the last are zero.
  void gather(int tile) const {
    const BlockRows x = rows_of(tile);
    for (int r = 0; r < kTileRows; ++r) {
      const int row = tile * kTileRows + r;
      const std::int64_t from = row < rows_ ? row_of(t_, row0_ + row) : -1;
      for (std::int64_t b = 0; b < blocks_; ++b) {
        std::int8_t* q = x.q + b * kBlockTileBytes + r * kBlock;
        const std::int64_t to = b * kTileRows + r, block = from * blocks_ + b;
        if (from >= 0)
          __builtin_memcpy(q, t_.q + block * kBlock, kBlock);
        else
          __builtin_memset(q, 0, kBlock);
        x.scale[to] = from >= 0 ? t_.q_scale[block] : 0;
        if constexpr (Format::kHasMinimum)
          x.sum_scale[to] = from >= 0 ? x.scale[to] * static_cast<float>(t_.q_sum[block]) : 0;
      }
    }
  }

  /// Q8_0 lies in a panel as the tiles want it.
  const std::byte* widen(const std::byte* panel) const {
    if constexpr (Format::kIsPacked) {
      std::byte* weights = memory_ + row_tiles_ * tile_bytes_;
      for (std::int64_t b = 0; b < blocks_; ++b)
        M::expand(panel + b * Format::kQuantBytes, Format::kOffset, weights + b * kBlockTileBytes);
      return weights;
    } else {
      return panel;
    }
  }

  const PanelTask& t_;
  int row0_, rows_;
  std::int64_t blocks_;
  int row_tiles_;
  std::int64_t tile_bytes_ = 0;
  std::byte* memory_ = nullptr;
};

/// The rows of a task from `first` on.
inline PanelTask rows_from(const PanelTask& t, int first) {
  const std::int64_t blocks = t.columns / kBlock;
  PanelTask rest = t;
  rest.rows = t.rows - first;
  rest.y = t.y + first * t.y_stride;
  if (t.row_index != nullptr) {
    rest.row_index = t.row_index + first;
  } else {
    rest.q = t.q + first * t.columns;
    rest.q_scale = t.q_scale + first * blocks;
    rest.q_sum = t.q_sum + first * blocks;
  }
  return rest;
}

template <class M, class Format>
void block_panels(const PanelTask& t) {
  const int odd = t.rows % kTileRows;
  const int tiled = odd < kFewestRows ? t.rows - odd : t.rows;
  if (tiled > 0) {
    const TileScope<M> tiles(kInt8Tiles);
    const std::int64_t fitting = 2 * kCacheBytes / larger(t.columns, 1) / kTileRows * kTileRows;
    const int step = static_cast<int>(larger(smaller(fitting, kMaxTaskRows), 4 * kTileRows));
    for (int row = 0; row < tiled; row += step)
      TiledBlockRows<M, Format>(t, row, static_cast<int>(smaller(step, tiled - row))).run();
  }
  if (tiled < t.rows) (M::few_rows().*Format::kFunction)(rows_from(t, tiled));
}

}  // namespace
}  // namespace talpa::kernel
