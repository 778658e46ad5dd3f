#include "talpa/format/repack.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstring>

#include "talpa/base/error.h"
#include "talpa/format/dequantise.h"
#include "talpa/format/quantise.h"

namespace talpa {

namespace {

void repack_block(const BlockQ5_0& block, BlockQ8_0* target) {
  std::memcpy(target->d, block.d, sizeof block.d);
  const std::uint32_t high = detail::high_bits(block.high);
  for (int i = 0; i < 16; ++i) {
    target->q[i] = static_cast<std::int8_t>(detail::five_bits(block.q[i] & 15, high, i) - 16);
    target->q[16 + i] =
        static_cast<std::int8_t>(detail::five_bits(block.q[i] >> 4, high, 16 + i) - 16);
  }
}

void repack_block(const BlockQ4_0& block, BlockQ8_0* target) {
  std::memcpy(target->d, block.d, sizeof block.d);
  for (int i = 0; i < 16; ++i) {
    target->q[i] = static_cast<std::int8_t>((block.q[i] & 15) - 8);
    target->q[16 + i] = static_cast<std::int8_t>((block.q[i] >> 4) - 8);
  }
}

template <class From, class To>
requires std::same_as<From, BlockQ3_0> || std::same_as<From, BlockQ2_0>
void repack_block(const From& block, To* target) {
  std::int8_t q[From::kSize];
  detail::levels_of(block, q);
  detail::store(detail::scale_of(block.d), q, *target);
}

void store_product(float value, std::uint8_t (&bytes)[2]) {
  constexpr float kLargestF16 = 65504;
  if (!(std::fabs(value) <= kLargestF16))
    fail(ErrorCode::kUnsupported,
         "a group's scale of {} does not fit into the 16 bits it is held in", value);
  detail::store_scale(value, bytes);
}

/// Eight blocks.
void repack_block(const BlockQ4_K& block, BlockQ4_1* target) {
  const float d = detail::scale_of(block.d), m = detail::scale_of(block.m);
  for (int group = 0; group < 8; ++group) {
    const detail::GroupScale scale = detail::group_scale(block.scales, group);
    store_product(d * static_cast<float>(scale.scale), target[group].d);
    store_product(-(m * static_cast<float>(scale.min)), target[group].m);
    const std::uint8_t* q = block.q + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 16; ++i)
      target[group].q[i] =
          static_cast<std::uint8_t>((q[i] >> shift & 15) | (q[16 + i] >> shift & 15) << 4);
  }
}

template <class From, class To>
void repack_blocks(const std::byte* source, std::byte* target, std::int64_t count) {
  const auto* from = reinterpret_cast<const From*>(source);
  auto* to = reinterpret_cast<To*>(target);
  for (std::int64_t b = 0; b < count / From::kSize; ++b)
    repack_block(from[b], to + b * (From::kSize / To::kSize));
}

using Repack = void(const std::byte*, std::byte*, std::int64_t);

Repack* repack_function(DType from, DType to) {
  if (from == DType::kQ5_0 && to == DType::kQ8_0) return repack_blocks<BlockQ5_0, BlockQ8_0>;
  if (from == DType::kQ4_0 && to == DType::kQ8_0) return repack_blocks<BlockQ4_0, BlockQ8_0>;
  if (from == DType::kQ4_K && to == DType::kQ4_1) return repack_blocks<BlockQ4_K, BlockQ4_1>;
  if (from == DType::kQ3_0 && to == DType::kQ4_0) return repack_blocks<BlockQ3_0, BlockQ4_0>;
  if (from == DType::kQ3_0 && to == DType::kQ8_0) return repack_blocks<BlockQ3_0, BlockQ8_0>;
  if (from == DType::kQ2_0 && to == DType::kQ4_0) return repack_blocks<BlockQ2_0, BlockQ4_0>;
  if (from == DType::kQ2_0 && to == DType::kQ8_0) return repack_blocks<BlockQ2_0, BlockQ8_0>;
  return nullptr;
}

}  // namespace

bool can_repack(DType from, DType to) { return repack_function(from, to) != nullptr; }

void repack(DType from, DType to, const std::byte* source, std::byte* target, std::int64_t count) {
  Repack* const run = repack_function(from, to);
  if (run == nullptr)
    fail(ErrorCode::kUnsupported, "blocks of {} cannot be rewritten as {}", name_of(from),
         name_of(to));
  TALPA_CHECK(count >= 0);
  bytes_of(from, static_cast<std::uint64_t>(count));
  run(source, target, count);
}

}  // namespace talpa
