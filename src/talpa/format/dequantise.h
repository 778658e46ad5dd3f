#pragma once

#include <cstdint>

#include "talpa/format/block_formats.h"
#include "talpa/format/half.h"

/// Widening of one block of each format, inlined into the loops over rows. The order of the
/// operations is that of ggml's reference, so the floats are the same bit for bit.
namespace talpa::detail {

[[gnu::always_inline]] inline float scale_of(const std::uint8_t (&bytes)[2]) {
  return widen_f16(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8));
}

[[gnu::always_inline]] inline void widen(const BlockQ8_0& block, float* out) {
  const float d = scale_of(block.d);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.q[i]) * d;
}

[[gnu::always_inline]] inline void widen(const BlockQ4_0& block, float* out) {
  const float d = scale_of(block.d);
  for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>((block.q[i] & 15) - 8);
  for (int i = 0; i < 16; ++i) out[16 + i] = d * static_cast<float>((block.q[i] >> 4) - 8);
}

[[gnu::always_inline]] inline void widen(const BlockQ4_1& block, float* out) {
  const float d = scale_of(block.d);
  const float m = scale_of(block.m);
  for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>(block.q[i] & 15) + m;
  for (int i = 0; i < 16; ++i) out[16 + i] = d * static_cast<float>(block.q[i] >> 4) + m;
}

[[gnu::always_inline]] inline std::uint32_t high_bits(const std::uint8_t (&bytes)[4]) {
  return static_cast<std::uint32_t>(bytes[0]) | static_cast<std::uint32_t>(bytes[1]) << 8 |
         static_cast<std::uint32_t>(bytes[2]) << 16 | static_cast<std::uint32_t>(bytes[3]) << 24;
}

/// The five bits of element `i` of the 16 that start at bit `first` of `high`.
[[gnu::always_inline]] inline int five_bits(int nibble, std::uint32_t high, int i) {
  return nibble | static_cast<int>((high >> i & 1u) << 4);
}

[[gnu::always_inline]] inline void widen(const BlockQ5_0& block, float* out) {
  const float d = scale_of(block.d);
  const std::uint32_t high = high_bits(block.high);
  for (int i = 0; i < 16; ++i)
    out[i] = d * static_cast<float>(five_bits(block.q[i] & 15, high, i) - 16);
  for (int i = 0; i < 16; ++i)
    out[16 + i] = d * static_cast<float>(five_bits(block.q[i] >> 4, high, 16 + i) - 16);
}

[[gnu::always_inline]] inline void widen(const BlockQ5_1& block, float* out) {
  const float d = scale_of(block.d);
  const float m = scale_of(block.m);
  const std::uint32_t high = high_bits(block.high);
  for (int i = 0; i < 16; ++i)
    out[i] = d * static_cast<float>(five_bits(block.q[i] & 15, high, i)) + m;
  for (int i = 0; i < 16; ++i)
    out[16 + i] = d * static_cast<float>(five_bits(block.q[i] >> 4, high, 16 + i)) + m;
}

/// Element `i` of two bits, packed as in Q3_0 and Q2_0.
[[gnu::always_inline]] inline int two_bits(const std::uint8_t (&low)[8], int i) {
  return low[i % 8] >> (i / 8 * 2) & 3;
}

[[gnu::always_inline]] inline void levels_of(const BlockQ3_0& block, std::int8_t (&q)[32]) {
  const std::uint32_t high = high_bits(block.high);
  for (int i = 0; i < 32; ++i)
    q[i] = static_cast<std::int8_t>(
        (two_bits(block.low, i) | static_cast<int>((high >> i & 1u) << 2)) - 4);
}

[[gnu::always_inline]] inline void levels_of(const BlockQ2_0& block, std::int8_t (&q)[32]) {
  for (int i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(two_bits(block.low, i) - 2);
}

[[gnu::always_inline]] inline void widen(const BlockQ3_0& block, float* out) {
  std::int8_t q[32];
  levels_of(block, q);
  const float d = scale_of(block.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]);
}

[[gnu::always_inline]] inline void widen(const BlockQ2_0& block, float* out) {
  std::int8_t q[32];
  levels_of(block, q);
  const float d = scale_of(block.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(q[i]);
}

struct GroupScale {
  int scale;
  int min;
};

/// Groups 0..3 hold six bits each in bytes 0..3 (scale) and 4..7 (minimum); groups 4..7 take
/// four bits from bytes 8..11 and the two left over of the bytes before.
[[gnu::always_inline]] inline GroupScale group_scale(const std::uint8_t (&s)[12], int group) {
  if (group < 4) return {s[group] & 63, s[group + 4] & 63};
  return {(s[group + 4] & 15) | (s[group - 4] >> 6) << 4, s[group + 4] >> 4 | (s[group] >> 6) << 4};
}

[[gnu::always_inline]] inline void widen(const BlockQ4_K& block, float* out) {
  const float d = scale_of(block.d);
  const float m = scale_of(block.m);
  for (int group = 0; group < 8; ++group) {
    const GroupScale scale = group_scale(block.scales, group);
    const float dg = d * static_cast<float>(scale.scale);
    const float mg = m * static_cast<float>(scale.min);
    const std::uint8_t* q = block.q + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i)
      out[group * 32 + i] = dg * static_cast<float>(q[i] >> shift & 15) - mg;
  }
}

[[gnu::always_inline]] inline void widen(const BlockQ5_K& block, float* out) {
  const float d = scale_of(block.d);
  const float m = scale_of(block.m);
  for (int group = 0; group < 8; ++group) {
    const GroupScale scale = group_scale(block.scales, group);
    const float dg = d * static_cast<float>(scale.scale);
    const float mg = m * static_cast<float>(scale.min);
    const std::uint8_t* q = block.q + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int value = (q[i] >> shift & 15) | (block.high[i] >> group & 1) << 4;
      out[group * 32 + i] = dg * static_cast<float>(value) - mg;
    }
  }
}

[[gnu::always_inline]] inline void widen(const BlockQ6_K& block, float* out) {
  const float d = scale_of(block.d);
  for (int group = 0; group < 16; ++group) {
    const float dg = d * static_cast<float>(block.scales[group]);
    const int half = group / 8;
    const int quarter = group % 8 / 2;  // of the half: 32 elements that share their shifts
    const std::uint8_t* low = block.low + half * 64 + quarter % 2 * 32 + group % 2 * 16;
    const std::uint8_t* high = block.high + half * 32 + group % 2 * 16;
    const int low_shift = quarter / 2 * 4;
    const int high_shift = quarter * 2;
    for (int i = 0; i < 16; ++i) {
      const int value = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
      out[group * 16 + i] = dg * static_cast<float>(value - 32);
    }
  }
}

}  // namespace talpa::detail
