#include <immintrin.h>

#include <cstring>
#include <type_traits>

#include "talpa/base/cpu.h"
#include "talpa/base/error.h"
#include "talpa/format/dequantise.h"
#include "talpa/format/dtype.h"
#include "talpa/format/half.h"
#include "talpa/format/quantise.h"

namespace talpa {

namespace {

using ToFloat = void(DType, const std::byte*, float*, std::int64_t);
using FromFloat = void(DType, const float*, std::byte*, std::int64_t);

/// Elements need not be aligned in a file, hence memcpy.
template <class T>
[[gnu::always_inline]] inline T load(const std::byte* source, std::int64_t i) {
  T value;
  std::memcpy(&value, source + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
[[gnu::always_inline]] inline void widen_numbers(const std::byte* source, float* target,
                                                 std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) target[i] = static_cast<float>(load<T>(source, i));
}

template <class Block>
[[gnu::always_inline]] inline void widen_blocks(const std::byte* source, float* target,
                                                std::int64_t count) {
  const auto* blocks = reinterpret_cast<const Block*>(source);
  for (std::int64_t b = 0; b < count / Block::kSize; ++b)
    detail::widen(blocks[b], target + b * Block::kSize);
}

[[gnu::always_inline]] inline void widen_rows(DType dtype, const std::byte* source, float* target,
                                              std::int64_t count) {
  switch (dtype) {
    case DType::kF64:
      return widen_numbers<double>(source, target, count);
    case DType::kF32:
      return widen_numbers<float>(source, target, count);
    case DType::kF16:
      for (std::int64_t i = 0; i < count; ++i)
        target[i] = detail::widen_f16(load<std::uint16_t>(source, i));
      return;
    case DType::kBF16:
      for (std::int64_t i = 0; i < count; ++i)
        target[i] = detail::widen_bf16(load<std::uint16_t>(source, i));
      return;
    case DType::kI64:
      return widen_numbers<std::int64_t>(source, target, count);
    case DType::kI32:
      return widen_numbers<std::int32_t>(source, target, count);
    case DType::kI16:
      return widen_numbers<std::int16_t>(source, target, count);
    case DType::kI8:
      return widen_numbers<std::int8_t>(source, target, count);
    case DType::kU8:
      return widen_numbers<std::uint8_t>(source, target, count);
    case DType::kBool:
      for (std::int64_t i = 0; i < count; ++i) target[i] = source[i] != std::byte{0} ? 1.0f : 0.0f;
      return;
    case DType::kQ8_0:
      return widen_blocks<BlockQ8_0>(source, target, count);
    case DType::kQ4_0:
      return widen_blocks<BlockQ4_0>(source, target, count);
    case DType::kQ4_1:
      return widen_blocks<BlockQ4_1>(source, target, count);
    case DType::kQ5_0:
      return widen_blocks<BlockQ5_0>(source, target, count);
    case DType::kQ5_1:
      return widen_blocks<BlockQ5_1>(source, target, count);
    case DType::kQ4_K:
      return widen_blocks<BlockQ4_K>(source, target, count);
    case DType::kQ5_K:
      return widen_blocks<BlockQ5_K>(source, target, count);
    case DType::kQ6_K:
      return widen_blocks<BlockQ6_K>(source, target, count);
    case DType::kQ3_0:
      return widen_blocks<BlockQ3_0>(source, target, count);
    case DType::kQ2_0:
      return widen_blocks<BlockQ2_0>(source, target, count);
  }
}

template <class Block>
[[gnu::always_inline]] inline void narrow_blocks(const float* source, std::byte* target,
                                                 std::int64_t count) {
  auto* blocks = reinterpret_cast<Block*>(target);
  for (std::int64_t b = 0; b < count / Block::kSize; ++b)
    detail::narrow(source + b * Block::kSize, blocks[b]);
}

[[gnu::always_inline]] inline void narrow_rows(DType dtype, const float* source, std::byte* target,
                                               std::int64_t count) {
  auto store = [target](std::int64_t i, std::uint16_t bits) {
    std::memcpy(target + 2 * i, &bits, sizeof bits);
  };
  switch (dtype) {
    case DType::kF16:
      for (std::int64_t i = 0; i < count; ++i) store(i, detail::narrow_f16(source[i]));
      return;
    case DType::kBF16:
      for (std::int64_t i = 0; i < count; ++i) store(i, detail::narrow_bf16(source[i]));
      return;
    case DType::kQ8_0:
      return narrow_blocks<BlockQ8_0>(source, target, count);
    case DType::kQ4_0:
      return narrow_blocks<BlockQ4_0>(source, target, count);
    case DType::kQ4_1:
      return narrow_blocks<BlockQ4_1>(source, target, count);
    case DType::kQ3_0:
      return narrow_blocks<BlockQ3_0>(source, target, count);
    case DType::kQ2_0:
      return narrow_blocks<BlockQ2_0>(source, target, count);
    default:
      return;
  }
}

/// Elements converted eight at a time; the caller does the rest.
[[gnu::target("avx2,f16c")]] std::int64_t widen_f16_avx2(const std::byte* source, float* target,
                                                         std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 2 * i));
    _mm256_storeu_ps(target + i, _mm256_cvtph_ps(half));
  }
  return i;
}
[[gnu::target("avx2,f16c")]] std::int64_t narrow_f16_avx2(const float* source, std::byte* target,
                                                          std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 2 * i), half);
  }
  return i;
}

// The same loops compiled twice. Without FMA, so that both round alike.
[[gnu::target("avx2")]] void to_float_avx2(DType dtype, const std::byte* source, float* target,
                                           std::int64_t count) {
  const std::int64_t done = dtype == DType::kF16 ? widen_f16_avx2(source, target, count) : 0;
  widen_rows(dtype, source + 2 * done, target + done, count - done);
}
void to_float_portable(DType dtype, const std::byte* source, float* target, std::int64_t count) {
  widen_rows(dtype, source, target, count);
}
[[gnu::target("avx2")]] void from_float_avx2(DType dtype, const float* source, std::byte* target,
                                             std::int64_t count) {
  const std::int64_t done = dtype == DType::kF16 ? narrow_f16_avx2(source, target, count) : 0;
  narrow_rows(dtype, source + done, target + 2 * done, count - done);
}
void from_float_portable(DType dtype, const float* source, std::byte* target, std::int64_t count) {
  narrow_rows(dtype, source, target, count);
}

}  // namespace

void to_float(DType dtype, const std::byte* source, float* target, std::int64_t count) {
  static ToFloat* const run = cpu_features().avx2 ? to_float_avx2 : to_float_portable;
  TALPA_CHECK(count >= 0);
  bytes_of(dtype, static_cast<std::uint64_t>(count));
  run(dtype, source, target, count);
}

void from_float(DType dtype, const float* source, std::byte* target, std::int64_t count) {
  static FromFloat* const run = cpu_features().avx2 ? from_float_avx2 : from_float_portable;
  TALPA_CHECK(count >= 0);
  const std::uint64_t bytes = bytes_of(dtype, static_cast<std::uint64_t>(count));
  if (!is_written(dtype))
    fail(ErrorCode::kUnsupported, "cannot write {}; talpa writes {}", name_of(dtype),
         written_types());
  if (dtype == DType::kF32) {
    if (bytes > 0) std::memcpy(target, source, bytes);
  } else {
    run(dtype, source, target, count);
  }
}

}  // namespace talpa
