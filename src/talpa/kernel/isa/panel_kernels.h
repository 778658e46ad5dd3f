#pragma once

#include <immintrin.h>

#include "talpa/kernel/panel_task.h"

/// Register-tiled panel products over an instruction set `Isa`. Included by one file per set and
/// compiled with its flags, hence the unnamed namespace and no library calls. Every element of y
/// is summed in the order of the columns whatever the tile, so that a row's result does not
/// depend on how many rows it came with.
///
/// An Isa has: F (floats), I (integers), kLanes floats a vector, kHalves vectors a panel, the
/// sizes of its tiles (kMaxRows x kPanels of floats, kMaxBlockRows x kBlockPanels of blocks,
/// kPanelsOfOneRow of blocks), and the few operations used below.
namespace talpa::kernel {
namespace {

/// Bytes of a panel that rows pass by before the next ones: a few such pieces stay in the
/// second-level cache, and sums are seldom written and read again.
constexpr std::int64_t kPieceBytes = 32 * 1024;

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

/// Float activations, multiplied column by column.
template <class Isa>
struct FloatActivations {
  using X = float;
  using W = typename Isa::F;
  static constexpr bool kPairs = false;
  static const float* row(const PanelTask& t, std::int64_t r) { return t.x + r * t.x_stride; }
  static W broadcast(const float* x) { return Isa::broadcast(x); }
  static W multiply_add(W b, W w, W acc) { return Isa::fma(b, w, acc); }
};

/// Adds the products of `S` columns from `k` on: one after the other, or as a pair where the
/// instruction set multiplies pairs.
template <class Isa, class Weights, int S, int R, int P>
inline void add_columns(const typename Weights::X* const (&x)[R], std::int64_t k,
                        const std::byte* panel, std::int64_t panel_bytes,
                        typename Isa::F (&acc)[R][P][Isa::kHalves]) {
  constexpr int H = Isa::kHalves, N = Weights::kPairs ? 1 : S;
#pragma GCC unroll 2
  for (int s = 0; s < N; ++s) {
    typename Weights::W w[P][H];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
      Weights::load(panel + p * panel_bytes + k * Weights::kColumnBytes, s, w[p]);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto b = Weights::broadcast(x[r] + k + s);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h) acc[r][p][h] = Weights::multiply_add(b, w[p][h], acc[r][p][h]);
    }
  }
}

/// A tile of sums in registers. Columns beyond the tile's width pass by a buffer.
template <class Isa, int R, int P>
struct Sums {
  static constexpr int H = Isa::kHalves, W = Isa::kLanes;
  Tile<Isa, P> tile;
  float edge[R * P * kPanelRows];
  float* y;
  std::int64_t stride;

  [[gnu::always_inline]] inline Sums(Tile<Isa, P> tile, bool accumulate,
                                     typename Isa::F (&acc)[R][P][H])
      : tile(tile) {
    y = tile.y;
    stride = tile.stride;
    if (!tile.whole()) {
      if (accumulate)
        for (int r = 0; r < R; ++r)
          for (std::int64_t c = 0; c < P * kPanelRows; ++c)
            edge[r * P * kPanelRows + c] = c < tile.width ? tile.y[r * tile.stride + c] : 0;
      y = edge;
      stride = P * kPanelRows;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h)
          acc[r][p][h] =
              accumulate ? Isa::load(y + r * stride + p * kPanelRows + h * W) : Isa::zero();
  }

  [[gnu::always_inline]] inline void store(const typename Isa::F (&acc)[R][P][H]) const {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h)
          Isa::store(y + r * stride + p * kPanelRows + h * W, acc[r][p][h]);
    if (tile.whole()) return;
    for (int r = 0; r < R; ++r)
      for (std::int64_t c = 0; c < tile.width; ++c)
        tile.y[r * tile.stride + c] = edge[r * P * kPanelRows + c];
  }
};

/// A tile of sums; `Weights` adds the products of its step of columns. Fetch: brings the same
/// columns of the P panels behind into the second-level cache on the way.
template <class Isa, class Weights, int R, int P, bool Fetch = false>
inline void float_tile(const PanelTask& t, int row0, const std::byte* panel, Tile<Isa, P> tile,
                       std::int64_t k0, std::int64_t k1, bool accumulate) {
  using F = typename Isa::F;
  constexpr int H = Isa::kHalves;
  const typename Weights::X* x[R];
  for (int r = 0; r < R; ++r) x[r] = Weights::row(t, row_of(t, row0 + r));
  F acc[R][P][H];
  const Sums<Isa, R, P> sums(tile, accumulate, acc);
  std::int64_t k = k0;
  for (; k + Weights::kStep <= k1; k += Weights::kStep) {
    if constexpr (Fetch) {
#pragma GCC unroll 4
      for (int p = P; p < 2 * P; ++p)
        __builtin_prefetch(panel + p * t.panel_bytes + k * Weights::kColumnBytes, 0, 2);
    }
    add_columns<Isa, Weights, Weights::kStep>(x, k, panel, t.panel_bytes, acc);
  }
  if (k < k1) add_columns<Isa, Weights, 1>(x, k, panel, t.panel_bytes, acc);
  sums.store(acc);
}

/// Calls step.operator()<rows>(first row) for a tile of `rows` rows, at most R.
template <int R, class Step>
inline void one_row_tile(int first, int rows, const Step& step) {
  if (rows == R) return step.template operator()<R>(first);
  if constexpr (R > 1) one_row_tile<R - 1>(first, rows, step);
}

/// Rows in as few tiles of at most R as there can be, all about as high: a low one waits for its
/// loads.
template <int R, class Step>
inline void for_row_tiles(int rows, const Step& step) {
  const int tiles = (rows + R - 1) / R;
  for (int tile = 0, first = 0; tile < tiles; ++tile) {
    const int height = (rows - first + tiles - tile - 1) / (tiles - tile);
    one_row_tile<R>(first, height, step);
    first += height;
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

/// While rows pass by a piece of a panel, brings the same piece of the P panels behind it into the
/// second-level cache, a share with each tile of rows; harmless beyond the end of the matrix.
template <int P>
inline void fetch_share(const PanelTask& t, const std::byte* piece, std::int64_t bytes, int row,
                        int tile_rows) {
  const std::int64_t begin = bytes * row / t.rows / 64 * 64;
  const std::int64_t end = bytes * (row + tile_rows) / t.rows;
  for (int p = P; p < 2 * P; ++p)
    for (std::int64_t i = begin; i < end; i += 64)
      __builtin_prefetch(piece + p * t.panel_bytes + i, 0, 2);
}

/// Many rows: columns in tiles, rows in tiles of registers.
template <class Isa, class Weights, int P>
inline void many_rows(const PanelTask& t, int p) {
  constexpr std::int64_t kColumnTile = kPieceBytes / Weights::kColumnBytes;
  const std::byte* panel = t.panels + p * t.panel_bytes;
  for (std::int64_t k0 = 0; k0 == 0 || k0 < t.columns; k0 += kColumnTile) {
    const std::int64_t k1 = k0 + kColumnTile < t.columns ? k0 + kColumnTile : t.columns;
    for_row_tiles<Isa::kMaxRows>(t.rows, [&]<int R>(int row) {
      const Tile<Isa, P> out{t.y + row * t.y_stride + p * kPanelRows, t.y_stride,
                             t.width - p * kPanelRows};
      const bool accumulate = t.accumulate || k0 > 0;
      if (P == 1 && row == 0)
        return float_tile<Isa, Weights, R, P, P == 1>(t, row, panel, out, k0, k1, accumulate);
      if constexpr (P > 1)
        fetch_share<P>(t, panel + k0 * Weights::kColumnBytes, (k1 - k0) * Weights::kColumnBytes,
                       row, R);
      float_tile<Isa, Weights, R, P>(t, row, panel, out, k0, k1, accumulate);
    });
  }
}

template <class Isa, class Weights>
void float_panels(const PanelTask& t) {
  if (t.rows == 1) return few_rows<Isa, Weights, 1, 4>(t);
  if constexpr (Isa::kPanels == 1) {
    if (t.rows == 2) return few_rows<Isa, Weights, 2, 2>(t);
    if (t.rows == 3) return few_rows<Isa, Weights, 3, 2>(t);
  }
  int p = 0;
  for (; p + Isa::kPanels <= t.num_panels; p += Isa::kPanels)
    many_rows<Isa, Weights, Isa::kPanels>(t, p);
  for (; p < t.num_panels; ++p) many_rows<Isa, Weights, 1>(t, p);
}

/// A tile of sums of outer products: a step reads neighbours of one row of activations.
template <class Isa, int R, int P>
inline void outer_tile(const PanelTask& t, int column, const std::byte* panel, Tile<Isa, P> tile,
                       std::int64_t k0, std::int64_t k1, bool accumulate) {
  constexpr int H = Isa::kHalves, W = Isa::kLanes;
  typename Isa::F acc[R][P][H];
  const Sums<Isa, R, P> sums(tile, accumulate, acc);
  for (std::int64_t k = k0; k < k1; ++k) {
    const float* x = t.x + (t.row_index ? t.row_index[k] : k) * t.x_stride + column;
    typename Isa::F w[P][H];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h)
        w[p][h] = Isa::load(reinterpret_cast<const float*>(panel + p * t.panel_bytes) +
                            k * kPanelRows + h * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto b = Isa::broadcast(x + r);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h) acc[r][p][h] = Isa::fma(b, w[p][h], acc[r][p][h]);
    }
  }
  sums.store(acc);
}

template <class Isa, int P>
inline void outer_rows(const PanelTask& t, int p) {
  constexpr std::int64_t kColumnTile = 256;
  for (std::int64_t k0 = 0; k0 == 0 || k0 < t.columns; k0 += kColumnTile) {
    const std::int64_t k1 = k0 + kColumnTile < t.columns ? k0 + kColumnTile : t.columns;
    for_row_tiles<Isa::kMaxRows>(t.rows, [&]<int R>(int row) {
      const Tile<Isa, P> out{t.y + row * t.y_stride + p * kPanelRows, t.y_stride,
                             t.width - p * kPanelRows};
      outer_tile<Isa, R, P>(t, row, t.panels + p * t.panel_bytes, out, k0, k1,
                            t.accumulate || k0 > 0);
    });
  }
}

template <class Isa>
void outer_panels(const PanelTask& t) {
  int p = 0;
  for (; p + Isa::kPanels <= t.num_panels; p += Isa::kPanels) outer_rows<Isa, Isa::kPanels>(t, p);
  for (; p < t.num_panels; ++p) outer_rows<Isa, 1>(t, p);
}

/// Brings bytes into the second-level cache; harmless beyond the end of the matrix.
template <int Bytes>
inline void fetch(const std::byte* p) {
#pragma GCC unroll 8
  for (int i = 0; i < Bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

/// Rows of int8 blocks times P panels of blocks. The integer sums of a block are exact; blocks
/// are added in order.
template <class Isa, class Format, int R, int P>
inline void block_tile(const PanelTask& t, int row0, const std::byte* panel, Tile<Isa, P> tile) {
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
  F acc[R][P][H];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) acc[r][p][h] = Isa::zero();
  for (std::int64_t b = 0; b < blocks; ++b) {
    // One row is as fast as memory: the panels that come next lie too near for the hardware.
    if constexpr (R == 1 && P > 1) {
      const std::byte* next = panel + P * t.panel_bytes;
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        fetch<Format::kQuantBytes>(next + p * t.panel_bytes + b * Format::kQuantBytes);
        fetch<Format::kScaleBytes>(scales + (P + p) * t.panel_bytes + b * Format::kScaleBytes);
      }
    }
    typename Isa::I sum[R][P][H];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename Isa::I start = Format::start(q_sum[r] + b);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h) sum[r][p][h] = start;
    }
    Format::template dot<R, P>(panel + b * Format::kQuantBytes, t.panel_bytes, q, b * kBlock, sum);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        const std::byte* own = scales + p * t.panel_bytes + b * Format::kScaleBytes + h * W * 2;
        const F scale = Isa::load_f16(own);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const F x_scale = Isa::broadcast(q_scale[r] + b);
          const F value = Isa::to_float(Format::finish(sum[r][p][h], q_sum[r] + b));
          acc[r][p][h] = Isa::fma(value, Isa::mul(scale, x_scale), acc[r][p][h]);
          if constexpr (Format::kHasMinimum) {
            const F x_sum = Isa::mul(x_scale, Isa::to_float(Isa::broadcast_i(q_sum[r] + b)));
            acc[r][p][h] = Isa::fma(Isa::load_f16(own + 32), x_sum, acc[r][p][h]);
          }
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    float edge[P * kPanelRows];
    float* y = tile.y + r * tile.stride;
    float* out = tile.whole() && !t.accumulate ? y : edge;
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) Isa::store(out + p * kPanelRows + h * W, acc[r][p][h]);
    if (out == y) continue;
    for (std::int64_t c = 0; c < P * kPanelRows && c < tile.width; ++c)
      y[c] = t.accumulate ? y[c] + edge[c] : edge[c];
  }
}

template <class Isa, class Format, int R, int P>
inline void block_rows(const PanelTask& t, int p) {
  for_row_tiles<R>(t.rows, [&]<int N>(int row) {
    if (t.rows > 1) fetch_share<P>(t, t.panels + p * t.panel_bytes, t.panel_bytes, row, N);
    const Tile<Isa, P> out{t.y + row * t.y_stride + p * kPanelRows, t.y_stride,
                           t.width - p * kPanelRows};
    block_tile<Isa, Format, N, P>(t, row, t.panels + p * t.panel_bytes, out);
  });
}

/// One row takes several panels at once, so that their sums do not wait for each other.
template <class Isa, class Format>
void block_panels(const PanelTask& t) {
  int p = 0;
  if (t.rows == 1)
    for (; p + Isa::kPanelsOfOneRow <= t.num_panels; p += Isa::kPanelsOfOneRow)
      block_rows<Isa, Format, 1, Isa::kPanelsOfOneRow>(t, p);
  if (t.rows > 1)
    for (; p + Isa::kBlockPanels <= t.num_panels; p += Isa::kBlockPanels)
      block_rows<Isa, Format, Isa::kMaxBlockRows, Isa::kBlockPanels>(t, p);
  for (; p < t.num_panels; ++p) block_rows<Isa, Format, Isa::kMaxBlockRows, 1>(t, p);
}

}  // namespace
}  // namespace talpa::kernel
