#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "talpa/format/half.h"

/// The scale of a block whose elements are d times an integer, chosen by least squared error,
/// inlined into the loops over rows.
namespace talpa::detail {

/// Integers that an element may be, times the block's scale.
struct BlockLevels {
  int least;
  int greatest;
};

/// 1 / d, or 0 for a block of zeros.
[[gnu::always_inline]] inline float inverse(float d) { return d == 0.0f ? 0.0f : 1.0f / d; }

/// Cuts to [low, high]; a NaN becomes `low`, so that the conversion to an integer is defined.
[[gnu::always_inline]] inline float clamp(float x, float low, float high) {
  const float raised = x > low ? x : low;
  return raised < high ? raised : high;
}

[[gnu::always_inline]] inline int nearest_level(BlockLevels levels, float ratio) {
  const float code = clamp(ratio + (0.5f - static_cast<float>(levels.least)), 0.0f,
                           static_cast<float>(levels.greatest - levels.least));
  return static_cast<int>(code) + levels.least;
}

[[gnu::always_inline]] inline float as_f16(float value) {
  constexpr float kLargest = 65504;
  return widen_f16(narrow_f16(clamp(value, -kLargest, kLargest)));
}

using EightFloats [[gnu::vector_size(32)]] = float;
using EightInts [[gnu::vector_size(32)]] = std::int32_t;

/// The best scale so far, tried one by one. Written in vectors, which the compiler makes of the
/// loops only in part; their sums are in one order on every machine.
template <BlockLevels levels>
class ScaleSearch {
 public:
  [[gnu::always_inline]] explicit ScaleSearch(const float* x) { std::memcpy(x_, x, sizeof x_); }

  [[gnu::always_inline]] float best() const { return best_; }

  /// Tries a scale, and the one that suits its levels best.
  [[gnu::always_inline]] void consider(float scale) {
    const float suited = measure(as_f16(scale));
    measure(as_f16(suited));
  }

 private:
  /// Keeps `d` if nothing before it was as good; returns sum(x q) / sum(q q).
  [[gnu::always_inline]] float measure(float d) {
    constexpr float kLeast = levels.least;
    constexpr EightFloats kZero = {};
    constexpr EightFloats kLast = kZero + static_cast<float>(levels.greatest - levels.least);
    EightFloats error = {}, xq = {}, qq = {};
    const float id = inverse(d);
    for (const EightFloats& x : x_) {
      EightFloats code = x * id + (0.5f - kLeast);
      code = code > kZero ? code : kZero;  // a NaN too
      code = code < kLast ? code : kLast;
      const EightFloats q =
          __builtin_convertvector(__builtin_convertvector(code, EightInts), EightFloats) + kLeast;
      const EightFloats rest = x - d * q;
      error += rest * rest;
      xq += x * q;
      qq += q * q;
    }
    for (int j = 1; j < 8; ++j) {
      error[0] += error[j];
      xq[0] += xq[j];
      qq[0] += qq[j];
    }
    if (error[0] < least_error_) {
      least_error_ = error[0];
      best_ = d;
    }
    return qq[0] > 0.0f ? xq[0] / qq[0] : 0.0f;
  }

  EightFloats x_[4];
  float best_ = 0;
  float least_error_ = std::numeric_limits<float>::infinity();
};

/// Scale of 32 elements, as fp16 holds it. Tried are the scales that put the largest element on
/// each level, so that a block that can be held exactly is, and between and beyond them some that
/// cut it off. Of equals the first is taken: the largest element on the level farthest from zero.
template <BlockLevels levels>
[[gnu::always_inline]] inline float best_scale(const float* x) {
  constexpr int kTop = -levels.least;  // never nearer to zero than `greatest`
  constexpr bool kEven = levels.greatest == kTop;
  constexpr int kLowest = kTop > 16 ? kTop * 3 / 4 : 1;  // farther ones change nothing that counts
  float largest = x[0];
  for (int i = 1; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  ScaleSearch<levels> search(x);
  if (largest == 0.0f) return 0.0f;
  for (int level = kTop; level >= kLowest; --level) {
    search.consider(largest / static_cast<float>(-level));
    if (!kEven && level <= levels.greatest) search.consider(largest / static_cast<float>(level));
  }
  if (kTop > 16) return search.best();
  for (int step = 0; step < 10; ++step) {
    const float level = (0.8125f + 0.125f * static_cast<float>(step)) * static_cast<float>(kTop);
    search.consider(largest / -level);
    search.consider(largest / level);
  }
  return search.best();
}

}  // namespace talpa::detail
