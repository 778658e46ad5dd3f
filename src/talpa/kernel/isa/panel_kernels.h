#pragma once

#include <immintrin.h>

#include "talpa/kernel/panel_task.h"

/// Register-tiled panel products over an instruction set `Isa`. Included by one file per set and
/// compiled with its flags, hence the unnamed namespace and no library calls. Every element of y
/// is summed in the order of the columns whatever the tile, so that a row's result does not
/// depend on how many rows it came with.
///
/// An Isa has: F (floats), I (integers), kLanes floats a vector, kHalves vectors a panel,
/// kMaxRows and kPanels of a tile, and the few operations used below.
namespace talpa::kernel {
namespace {

/// Columns of a panel that stay in the first-level cache while rows pass by.
constexpr std::int64_t kColumnTile = 256;

inline std::int64_t row_of(const PanelTask& t, int r) { return t.row_index ? t.row_index[r] : r; }

inline std::int32_t load_4(const std::int8_t* p) {
  std::int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

template <class Isa, int P>
struct Tile {
  float* y;
  std::int64_t stride;
  std::int64_t width;

  bool whole() const { return width >= P * kPanelRows; }
};

template <class Isa, class Weights, int R, int P>
inline void float_tile(const PanelTask& t, int row0, const std::byte* panel, Tile<Isa, P> tile,
                       std::int64_t k0, std::int64_t k1, bool accumulate) {
  using F = typename Isa::F;
  constexpr int H = Isa::kHalves, W = Isa::kLanes;
  const float* x[R];
  for (int r = 0; r < R; ++r) x[r] = t.x + row_of(t, row0 + r) * t.x_stride;
  float edge[R * P * kPanelRows];
  float* y = tile.y;
  std::int64_t stride = tile.stride;
  if (!tile.whole()) {
    if (accumulate)
      for (int r = 0; r < R; ++r)
        for (std::int64_t c = 0; c < P * kPanelRows; ++c)
          edge[r * P * kPanelRows + c] = c < tile.width ? tile.y[r * tile.stride + c] : 0;
    y = edge;
    stride = P * kPanelRows;
  }
  F acc[R][P][H];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h)
        acc[r][p][h] = accumulate
                           ? Weights::from_order(Isa::load(y + r * stride + p * kPanelRows + h * W))
                           : Isa::zero();
  for (std::int64_t k = k0; k < k1; ++k) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      F w[H];
      Weights::load(panel + p * t.panel_bytes + k * Weights::kColumnBytes, w);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F b = Isa::broadcast(x[r] + k);
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h) acc[r][p][h] = Isa::fma(b, w[h], acc[r][p][h]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h)
        Isa::store(y + r * stride + p * kPanelRows + h * W, Weights::to_order(acc[r][p][h]));
  if (!tile.whole())
    for (int r = 0; r < R; ++r)
      for (std::int64_t c = 0; c < tile.width; ++c)
        tile.y[r * tile.stride + c] = edge[r * P * kPanelRows + c];
}

/// Calls step.operator()<R>(first row) over rows in tiles of at most R.
template <int R, class Step>
inline void for_row_tiles(int first, int rows, const Step& step) {
  while (rows - first >= R) {
    step.template operator()<R>(first);
    first += R;
  }
  if constexpr (R > 1) {
    if (first < rows) for_row_tiles<R - 1>(first, rows, step);
  }
}

/// Few rows: P panels at once hide the latency of the multiply-adds.
template <class Isa, class Weights, int R, int P>
inline void few_rows(const PanelTask& t) {
  int p = 0;
  auto tile = [&]<int N>() {
    const Tile<Isa, N> out{t.y + p * kPanelRows, t.y_stride, t.width - p * kPanelRows};
    float_tile<Isa, Weights, R, N>(t, 0, t.panels + p * t.panel_bytes, out, 0, t.columns,
                                   t.accumulate);
  };
  for (; p + P <= t.num_panels; p += P) tile.template operator()<P>();
  for (; p < t.num_panels; ++p) tile.template operator()<1>();
}

/// Many rows: columns in tiles, rows in tiles of registers.
template <class Isa, class Weights, int P>
inline void many_rows(const PanelTask& t, int p) {
  const std::byte* panel = t.panels + p * t.panel_bytes;
  for (std::int64_t k0 = 0; k0 == 0 || k0 < t.columns; k0 += kColumnTile) {
    const std::int64_t k1 = k0 + kColumnTile < t.columns ? k0 + kColumnTile : t.columns;
    for_row_tiles<Isa::kMaxRows>(0, t.rows, [&]<int R>(int row) {
      const Tile<Isa, P> out{t.y + row * t.y_stride + p * kPanelRows, t.y_stride,
                             t.width - p * kPanelRows};
      float_tile<Isa, Weights, R, P>(t, row, panel, out, k0, k1, t.accumulate || k0 > 0);
    });
  }
}

template <class Isa, class Weights>
void float_panels(const PanelTask& t) {
  if (t.rows == 1) return few_rows<Isa, Weights, 1, 4>(t);
  if (t.rows == 2) return few_rows<Isa, Weights, 2, 2>(t);
  if (t.rows == 3) return few_rows<Isa, Weights, 3, 2>(t);
  int p = 0;
  for (; p + Isa::kPanels <= t.num_panels; p += Isa::kPanels)
    many_rows<Isa, Weights, Isa::kPanels>(t, p);
  for (; p < t.num_panels; ++p) many_rows<Isa, Weights, 1>(t, p);
}

/// Rows of int8 blocks times one panel of blocks. The integer sums of a block are exact; blocks
/// are added in order.
template <class Isa, class Format, int R>
inline void block_tile(const PanelTask& t, int row0, const std::byte* panel, Tile<Isa, 1> tile) {
  using F = typename Isa::F;
  constexpr int H = Isa::kHalves, W = Isa::kLanes;
  const std::int64_t blocks = t.columns / kBlock;
  const std::byte* scales = panel + blocks * Format::kQuantBytes;
  const std::int8_t* q[R];
  const float* q_scale[R];
  const std::int32_t* q_sum[R];
  for (int r = 0; r < R; ++r) {
    q[r] = t.q + row_of(t, row0 + r) * t.columns;
    q_scale[r] = t.q_scale + row_of(t, row0 + r) * blocks;
    q_sum[r] = t.q_sum + row_of(t, row0 + r) * blocks;
  }
  F acc[R][H];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) acc[r][h] = Isa::zero();
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* quants = panel + b * Format::kQuantBytes;
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) {
      typename Isa::I sum[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) sum[r] = Isa::zero_i();
      Format::template dot<R>(quants + h * W * 4, q, b * kBlock, sum);
      const F scale = Isa::load_f16(scales + b * Format::kScaleBytes + h * W * 2);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F x_scale = Isa::broadcast(q_scale[r] + b);
        const F value = Isa::to_float(Format::finish(sum[r], q_sum[r][b]));
        acc[r][h] = Isa::fma(value, Isa::mul(scale, x_scale), acc[r][h]);
        if constexpr (Format::kHasMinimum) {
          const F minimum = Isa::load_f16(scales + b * Format::kScaleBytes + 32 + h * W * 2);
          const F x_sum = Isa::mul(x_scale, Isa::set(static_cast<float>(q_sum[r][b])));
          acc[r][h] = Isa::fma(minimum, x_sum, acc[r][h]);
        }
      }
    }
  }
  float edge[kPanelRows];
  for (int r = 0; r < R; ++r) {
    float* y = tile.y + r * tile.stride;
    float* out = tile.whole() && !t.accumulate ? y : edge;
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) Isa::store(out + h * W, acc[r][h]);
    if (out == y) continue;
    for (std::int64_t c = 0; c < kPanelRows && c < tile.width; ++c)
      y[c] = t.accumulate ? y[c] + edge[c] : edge[c];
  }
}

template <class Isa, class Format>
void block_panels(const PanelTask& t) {
  for (int p = 0; p < t.num_panels; ++p) {
    const std::byte* panel = t.panels + p * t.panel_bytes;
    for_row_tiles<Isa::kMaxBlockRows>(0, t.rows, [&]<int R>(int row) {
      const Tile<Isa, 1> out{t.y + row * t.y_stride + p * kPanelRows, t.y_stride,
                             t.width - p * kPanelRows};
      block_tile<Isa, Format, R>(t, row, panel, out);
    });
  }
}

}  // namespace
}  // namespace talpa::kernel
