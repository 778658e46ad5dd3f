#pragma once

#include <new>

#include "talpa/kernel/amx/tiles.h"
#include "talpa/kernel/panel_task.h"

/// What the AMX kernels share. Compiled for several instruction sets, hence the unnamed namespace
/// and no templates of the library.
namespace talpa::kernel {
namespace {

/// Bytes that a core's second-level cache keeps beside other things.
constexpr std::int64_t kCacheBytes = 512 * 1024;
/// Rows of activations at a time: enough that the weights are read seldom.
constexpr int kMaxTaskRows = 256;

inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

inline std::int64_t row_of(const PanelTask& t, int r) { return t.row_index ? t.row_index[r] : r; }

/// step.operator()<0>() ... step.operator()<N - 1>().
template <int N, class Step>
[[gnu::always_inline]] inline void unroll(const Step& step) {
  if constexpr (N > 0) {
    unroll<N - 1>(step);
    step.template operator()<N - 1>();
  }
}

/// Aligned memory that a thread keeps between tasks.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { free(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::byte* reserve(std::int64_t bytes) {
    if (bytes > bytes_) {
      free();
      data_ = static_cast<std::byte*>(::operator new(static_cast<std::size_t>(bytes), kAlignment));
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};

  void free() {
    ::operator delete(data_, kAlignment);
    data_ = nullptr;
    bytes_ = 0;
  }

  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

inline std::byte* scratch(std::int64_t bytes) {
  thread_local Scratch memory;
  return memory.reserve(bytes);
}

/// Stores or adds the first `rows` rows of a tile of sums into columns 16 panel ... of y.
inline void put_tile(const PanelTask& t, const float* sums, int row0, int rows, int panel) {
  const std::int64_t width = smaller(t.width - panel * kPanelRows, kPanelRows);
  for (int r = 0; r < rows; ++r) {
    const float* from = sums + r * kPanelRows;
    float* y = t.y + (row0 + r) * t.y_stride + panel * kPanelRows;
    for (std::int64_t c = 0; c < width; ++c) y[c] = t.accumulate ? y[c] + from[c] : from[c];
  }
}

}  // namespace
}  // namespace talpa::kernel
