#pragma once

#include <array>
#include <cstdint>

namespace talpa::nn {

/// sum of term(i) over [0, count), in sixteen interleaved partial sums that the compiler can
/// keep in vector registers; the order of additions depends on count alone.
template <class T, class Term>
T lane_sum(std::int64_t count, Term term) {
  constexpr std::int64_t kLanes = 16;
  std::array<T, kLanes> lanes{};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (; i < count; ++i) lanes[i % kLanes] += term(i);
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2)
    for (std::int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

}  // namespace talpa::nn
