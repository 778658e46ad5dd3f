#pragma once

#include "talpa/kernel/amx/common.h"

/// Panels of bf16 times rows of bf16. A panel's pairs of columns are the rows of a tile as they
/// lie. Every row goes through tiles, however few come: they keep up with the memory even for one,
/// and another order of additions would make a row's result depend on its company.
namespace talpa::kernel {
namespace {

/// Columns of a tile.
constexpr int kStep = 32;
/// Tiles of two panels of weights that stay in the first-level cache (32 KiB) while rows pass by.
constexpr std::int64_t kWeightSteps = 16;

inline constexpr TileConfig kBf16Tiles = tile_config(kTileRowBytes);

/// Neighbouring tiles: activations by row tile, weights by panel, sums by both. Distances are in
/// bytes; that of the sums is between panels.
struct Bf16Tiles {
  const std::byte* activations;
  std::int64_t activation_stride;
  const std::byte* weights;
  std::int64_t weight_stride;
  std::byte* sums;
  std::int64_t sum_stride;
};

/// One step of R row tiles times P panels.
template <class M, int R, int P>
inline void add_step(const Bf16Tiles& tiles, std::int64_t offset) {
  unroll<P>([&]<int p>() {
    M::template load<kWeightTile + p>(tiles.weights + p * tiles.weight_stride + offset,
                                      kTileRowBytes);
  });
  unroll<R>([&]<int r>() {
    M::template load<kActivationTile + r>(tiles.activations + r * tiles.activation_stride + offset,
                                          kTileRowBytes);
  });
  unroll<R * P>([&]<int I>() {
    M::template dot_bf16<kSumTile + I, kActivationTile + I / P, kWeightTile + I % P>();
  });
}

/// R row tiles times P panels over `steps` steps, added to the sums unless they are the first.
template <class M, int R, int P>
void multiply(Bf16Tiles tiles, std::int64_t steps, bool first) {
  unroll<R * P>([&]<int I>() {
    if (first) return M::template zero<kSumTile + I>();
    M::template load<kSumTile + I>(tiles.sums + I / P * kTileBytes + I % P * tiles.sum_stride,
                                   kTileRowBytes);
  });
  for (std::int64_t s = 0; s < steps; ++s) add_step<M, R, P>(tiles, s * kTileBytes);
  unroll<R * P>([&]<int I>() {
    M::template store<kSumTile + I>(tiles.sums + I / P * kTileBytes + I % P * tiles.sum_stride,
                                    kTileRowBytes);
  });
}

/// Up to kMaxTaskRows rows of a task.
template <class M>
class Bf16Rows {
 public:
  Bf16Rows(const PanelTask& t, int row0, int rows)
      : t_(t),
        row0_(row0),
        rows_(rows),
        row_tiles_(ceil_div(rows, kTileRows)),
        held_columns_(2 * ceil_div(t.columns, 2)),
        steps_(larger(ceil_div(t.columns, kStep), 1)) {
    // As much as the cache keeps: all columns of a few rows, some columns of many.
    const std::int64_t fitting = kCacheBytes / (row_tiles_ * kTileBytes);
    span_ = smaller(steps_, fitting / kWeightSteps * kWeightSteps);
    panels_ = smaller(t.num_panels, fitting);
    const std::int64_t span_bytes = row_tiles_ * span_ * kTileBytes;
    activations_ = scratch(span_bytes + 2 * kTileBytes + panels_ * row_tiles_ * kTileBytes);
    edge_ = activations_ + span_bytes;
    sums_ = edge_ + 2 * kTileBytes;
  }

  void run() {
    for (int first = 0; first < t_.num_panels; first += static_cast<int>(panels_)) {
      const int last = static_cast<int>(smaller(first + panels_, t_.num_panels));
      for (std::int64_t s = 0; s < steps_; s += span_) {
        const std::int64_t end = smaller(s + span_, steps_);
        if (first == 0 || span_ < steps_) gather(s, end);
        for (int p = first; p < last; p += 2)
          last - p > 1 ? add_panels<2>({p, p - first, s, end})
                       : add_panels<1>({p, p - first, s, end});
      }
      put(first, last);
    }
  }

 private:
  /// Panels from `panel` on, the `slot`-th whose sums are kept, over steps [begin, end).
  struct Range {
    int panel, slot;
    std::int64_t begin, end;
  };

  /// Rows of activations as tiles; zero past the last row and column.
  void gather(std::int64_t begin, std::int64_t end) const {
    for (int r = 0; r < row_tiles_ * kTileRows; ++r) {
      const std::uint16_t* x =
          r < rows_ ? t_.x_bf16 + row_of(t_, row0_ + r) * t_.x_bf16_stride : nullptr;
      std::byte* to =
          activations_ + r / kTileRows * activation_stride() + r % kTileRows * kTileRowBytes;
      for (std::int64_t s = begin; s < end; ++s, to += kTileBytes) {
        const std::int64_t count = x == nullptr ? 0 : smaller(held_columns_ - s * kStep, kStep);
        if (count == kStep) {
          __builtin_memcpy(to, x + s * kStep, kTileRowBytes);
        } else {
          __builtin_memset(to, 0, kTileRowBytes);
          if (count > 0) __builtin_memcpy(to, x + s * kStep, static_cast<std::size_t>(2 * count));
        }
      }
    }
  }

  template <int P>
  void add_panels(const Range& range) {
    const bool ends_in_part = range.end == steps_ && held_columns_ % kStep != 0;
    const std::int64_t whole = range.end - (ends_in_part || held_columns_ == 0 ? 1 : 0);
    // One pair of row tiles uses each weight once: no need to keep them.
    const std::int64_t at_once = row_tiles_ > 2 ? kWeightSteps : span_;
    const std::byte* panel = t_.panels + range.panel * t_.panel_bytes;
    for (std::int64_t s = range.begin; s < whole; s += at_once)
      add_row_tiles<P>(range, s, smaller(s + at_once, whole), panel + s * kTileBytes,
                       t_.panel_bytes);
    if (whole == range.end) return;
    pad_edge<P>(panel + whole * kTileBytes);
    add_row_tiles<P>(range, whole, range.end, edge_, kTileBytes);
  }

  /// The last step of panels that end within a tile.
  template <int P>
  void pad_edge(const std::byte* weights) const {
    constexpr int kColumnBytes = 2 * kPanelRows;
    const std::int64_t bytes = held_columns_ % kStep * kColumnBytes;
    __builtin_memset(edge_, 0, P * kTileBytes);
    for (int p = 0; p < P; ++p)
      __builtin_memcpy(edge_ + p * kTileBytes, weights + p * t_.panel_bytes,
                       static_cast<std::size_t>(bytes));
  }

  template <int P>
  void add_row_tiles(const Range& range, std::int64_t begin, std::int64_t end,
                     const std::byte* weights, std::int64_t weight_stride) {
    Bf16Tiles tiles{activations_ + (begin - range.begin) * kTileBytes,
                    activation_stride(),
                    weights,
                    weight_stride,
                    sums_ + range.slot * sum_stride(),
                    sum_stride()};
    for (std::int64_t tile = 0; tile < row_tiles_; tile += 2) {
      row_tiles_ - tile > 1 ? multiply<M, 2, P>(tiles, end - begin, begin == 0)
                            : multiply<M, 1, P>(tiles, end - begin, begin == 0);
      tiles.activations += 2 * activation_stride();
      tiles.sums += 2 * kTileBytes;
    }
  }

  void put(int first, int last) const {
    for (int p = first; p < last; ++p)
      for (int r = 0; r < rows_; r += kTileRows) {
        const std::byte* tile = sums_ + (p - first) * sum_stride() + r / kTileRows * kTileBytes;
        put_tile(t_, reinterpret_cast<const float*>(tile), row0_ + r,
                 static_cast<int>(smaller(kTileRows, rows_ - r)), p);
      }
  }

  std::int64_t activation_stride() const { return span_ * kTileBytes; }
  std::int64_t sum_stride() const { return row_tiles_ * kTileBytes; }

  const PanelTask& t_;
  int row0_, rows_;
  std::int64_t row_tiles_, held_columns_, steps_;
  std::int64_t span_ = 0;    ///< steps of activations at a time
  std::int64_t panels_ = 0;  ///< panels whose sums are kept at a time
  std::byte *activations_ = nullptr, *edge_ = nullptr, *sums_ = nullptr;
};

template <class M>
void bf16_panels(const PanelTask& t) {
  const TileScope<M> tiles(kBf16Tiles);
  for (int row = 0; row < t.rows; row += kMaxTaskRows)
    Bf16Rows<M>(t, row, static_cast<int>(smaller(kMaxTaskRows, t.rows - row))).run();
}

}  // namespace
}  // namespace talpa::kernel
