#pragma once

#include <cstdint>

namespace talpa {

/// Bytes of the block formats, as GGUF stores them. `d` and `m` are f16 bits. Every struct has
/// alignment 1, so that a pointer into a mapped file may be read as an array of them.

/// 32 elements: x = d * q.
struct BlockQ8_0 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::int8_t q[kSize];
};

/// 32 elements: x = d * (q - 8); element i in the low half of byte i, i + 16 in its high half.
struct BlockQ4_0 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t q[kSize / 2];
};

/// 32 elements: x = d * q + m; nibbles as in Q4_0.
struct BlockQ4_1 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t m[2];
  std::uint8_t q[kSize / 2];
};

/// 32 elements: x = d * (q - 16); nibbles as in Q4_0, the fifth bit of element i is bit i of
/// `high`.
struct BlockQ5_0 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t high[4];
  std::uint8_t q[kSize / 2];
};

/// 32 elements: x = d * q + m; bits as in Q5_0.
struct BlockQ5_1 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t m[2];
  std::uint8_t high[4];
  std::uint8_t q[kSize / 2];
};

/// 256 elements in 8 groups of 32: x = d * scale_g * q - m * min_g, scales and minima of 6 bits.
/// A run of 32 bytes of `q` holds two groups, the first in the low halves.
struct BlockQ4_K {
  static constexpr int kSize = 256;
  std::uint8_t d[2];
  std::uint8_t m[2];
  std::uint8_t scales[12];
  std::uint8_t q[kSize / 2];
};

/// As Q4_K; the fifth bit of element i of group g is bit g of `high[i]`.
struct BlockQ5_K {
  static constexpr int kSize = 256;
  std::uint8_t d[2];
  std::uint8_t m[2];
  std::uint8_t scales[12];
  std::uint8_t high[kSize / 8];
  std::uint8_t q[kSize / 2];
};

/// 256 elements in 16 groups of 16: x = d * scale_g * (q - 32). Each half of 128 elements takes
/// 64 bytes of `low` (four bits) and 32 bytes of `high` (two bits).
struct BlockQ6_K {
  static constexpr int kSize = 256;
  std::uint8_t low[kSize / 2];
  std::uint8_t high[kSize / 4];
  std::int8_t scales[16];
  std::uint8_t d[2];
};

/// talpa's own, 3.5 bits an element. 32 elements: x = d * (q - 4). Byte i of `low` holds the two
/// low bits of elements i, i + 8, i + 16 and i + 24 from the least bits up, bit i of `high` the
/// third of element i. Held in memory as Q4_0 (repack.h), without loss.
struct BlockQ3_0 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t low[kSize / 4];
  std::uint8_t high[4];
};

/// talpa's own, 2.5 bits an element. 32 elements: x = d * (q - 2), bits as in Q3_0; d has the sign
/// that serves the block. Four even levels about zero, -3 to 3 by two, have 2 % less squared error
/// on blocks of normal numbers, but 29 % more on Laplace's and 39 % more on Student's t with 4
/// degrees of freedom. Held in memory as Q4_0 (repack.h), without loss.
struct BlockQ2_0 {
  static constexpr int kSize = 32;
  std::uint8_t d[2];
  std::uint8_t low[kSize / 4];
};

static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 1);
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);
static_assert(sizeof(BlockQ3_0) == 14 && sizeof(BlockQ2_0) == 10);

}  // namespace talpa
