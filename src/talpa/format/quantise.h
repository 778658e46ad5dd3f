#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "talpa/format/block_formats.h"
#include "talpa/format/half.h"
#include "talpa/format/scale_search.h"

/// Narrowing of one block of each format, inlined into the loops over rows. The order of the
/// operations is that of ggml's reference, so the bytes are the same (Q3_0 and Q2_0 are talpa's). A
/// block that holds a NaN or an infinity gives bytes without meaning.
namespace talpa::detail {

[[gnu::always_inline]] inline void store_scale(float value, std::uint8_t (&bytes)[2]) {
  const std::uint16_t bits = narrow_f16(value);
  bytes[0] = static_cast<std::uint8_t>(bits);
  bytes[1] = static_cast<std::uint8_t>(bits >> 8);
}

[[gnu::always_inline]] inline void narrow(const float* x, BlockQ8_0& block) {
  std::int32_t largest = 0;  // bits of |x| order as integers do, and that reduction vectorises
  for (int i = 0; i < 32; ++i)
    largest = std::max(largest, std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff);
  const float d = std::bit_cast<float>(largest) / 127.0f;
  const float id = inverse(d);
  for (int i = 0; i < 32; ++i) {
    const float scaled = clamp(x[i] * id, -127.0f, 127.0f);
    const int whole = static_cast<int>(scaled);
    const float rest = scaled - static_cast<float>(whole);
    // Half away from zero: twice the rest, cut, is -1, 0 or 1.
    block.q[i] = static_cast<std::int8_t>(whole + static_cast<int>(rest + rest));
  }
  store_scale(d, block.d);
}

[[gnu::always_inline]] inline void narrow(const float* x, BlockQ4_0& block) {
  float largest = x[0];  // of magnitude, with its sign
  for (int i = 1; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  const float d = largest / -8.0f;
  const float id = inverse(d);
  for (int i = 0; i < 16; ++i) {
    const int low = static_cast<int>(clamp(x[i] * id + 8.5f, 0.0f, 15.0f));
    const int high = static_cast<int>(clamp(x[16 + i] * id + 8.5f, 0.0f, 15.0f));
    block.q[i] = static_cast<std::uint8_t>(low | high << 4);
  }
  store_scale(d, block.d);
}

[[gnu::always_inline]] inline void narrow(const float* x, BlockQ4_1& block) {
  float least = x[0];
  float most = x[0];
  for (int i = 1; i < 32; ++i) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  const float d = (most - least) / 15.0f;
  const float id = inverse(d);
  for (int i = 0; i < 16; ++i) {
    const int low = static_cast<int>(clamp((x[i] - least) * id + 0.5f, 0.0f, 15.0f));
    const int high = static_cast<int>(clamp((x[16 + i] - least) * id + 0.5f, 0.0f, 15.0f));
    block.q[i] = static_cast<std::uint8_t>(low | high << 4);
  }
  store_scale(d, block.d);
  store_scale(least, block.m);
}

/// Levels -8 to 7 times d.
[[gnu::always_inline]] inline void store(float d, const std::int8_t* q, BlockQ4_0& block) {
  store_scale(d, block.d);
  for (int i = 0; i < 16; ++i)
    block.q[i] = static_cast<std::uint8_t>((q[i] + 8) | (q[16 + i] + 8) << 4);
}

[[gnu::always_inline]] inline void store(float d, const std::int8_t* q, BlockQ8_0& block) {
  store_scale(d, block.d);
  for (int i = 0; i < 32; ++i) block.q[i] = q[i];
}

/// The two low bits of 32 codes.
[[gnu::always_inline]] inline void store_two_bits(const std::int8_t* q, int least,
                                                  std::uint8_t (&low)[8]) {
  for (int i = 0; i < 8; ++i) {
    int byte = 0;
    for (int part = 0; part < 4; ++part) byte |= ((q[i + 8 * part] - least) & 3) << (2 * part);
    low[i] = static_cast<std::uint8_t>(byte);
  }
}

[[gnu::always_inline]] inline void store(float d, const std::int8_t* q, BlockQ3_0& block) {
  store_scale(d, block.d);
  store_two_bits(q, -4, block.low);
  for (int i = 0; i < 4; ++i) {
    int byte = 0;
    for (int bit = 0; bit < 8; ++bit) byte |= ((q[8 * i + bit] + 4) >> 2) << bit;
    block.high[i] = static_cast<std::uint8_t>(byte);
  }
}

[[gnu::always_inline]] inline void store(float d, const std::int8_t* q, BlockQ2_0& block) {
  store_scale(d, block.d);
  store_two_bits(q, -2, block.low);
}

template <int least, int greatest, class Block>
[[gnu::always_inline]] inline void narrow_by_search(const float* x, Block& block) {
  constexpr BlockLevels levels{least, greatest};
  const float d = best_scale<levels>(x);
  const float id = inverse(d);
  std::int8_t q[32];
  for (int i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(nearest_level(levels, x[i] * id));
  store(d, q, block);
}

[[gnu::always_inline]] inline void narrow(const float* x, BlockQ3_0& block) {
  narrow_by_search<-4, 3>(x, block);
}

[[gnu::always_inline]] inline void narrow(const float* x, BlockQ2_0& block) {
  narrow_by_search<-2, 1>(x, block);
}

}  // namespace talpa::detail
