#include <immintrin.h>

#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {
namespace {

constexpr int kSums = 16;

float total(__m512 v) {
  float lanes[16];
  _mm512_storeu_ps(lanes, v);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

float multiply_add_fp32(std::int64_t rounds) {
  __m512 sum[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
  do {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = _mm512_fmadd_ps(sum[i], factor, term);
  } while (--rounds > 0);
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return total(sum[0]);
}

/// Sums of 32 bits that g++ keeps in registers, which it does not with sums of 64-bit words.
using Words = std::uint32_t __attribute__((vector_size(64)));

float multiply_add_int8(std::int64_t rounds) {
  Words sum[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sum[i] = Words{} + static_cast<std::uint32_t>(i);
  const __m512i x = _mm512_set1_epi8(3), weight = _mm512_set1_epi8(5);
  do {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i)
      sum[i] = reinterpret_cast<Words>(
          _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum[i]), x, weight));
  } while (--rounds > 0);
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) sum[0] += sum[i];
  return total(_mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sum[0])));
}

/// Two streams, each in ascending order.
std::uint64_t read(const std::byte* data, std::int64_t bytes) {
  constexpr int kVector = 64, kVectors = 4;
  __m512i sum[2][kVectors] = {};
  for (std::int64_t i = 0; i < bytes / 2; i += kVectors * kVector)
#pragma GCC unroll 2
    for (int stream = 0; stream < 2; ++stream)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const std::byte* line = data + stream * (bytes / 2) + i + v * kVector;
        _mm_prefetch(reinterpret_cast<const char*>(line + kReadAhead), _MM_HINT_T1);
        sum[stream][v] = _mm512_add_epi64(sum[stream][v], _mm512_load_si512(line));
      }
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    total = _mm512_add_epi64(total, _mm512_add_epi64(sum[0][v], sum[1][v]));
  std::uint64_t words[8], result = 0;
  _mm512_storeu_si512(words, total);
  for (const std::uint64_t word : words) result += word;
  return result;
}

}  // namespace

LimitFunctions limit_functions_avx512() {
  return {.name = "avx512",
          .read = read,
          .fp32 = {"avx512 vfmadd", 2 * 16 * kSums, multiply_add_fp32},
          .int8 = {"avx512 vpdpbusd", 2 * 64 * kSums, multiply_add_int8},
          .bf16 = {}};
}

}  // namespace talpa::kernel
