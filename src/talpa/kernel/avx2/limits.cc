#include <immintrin.h>

#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {
namespace {

/// Independent sums; with two operands they fit into 16 registers.
constexpr int kSums = 10;

float total(__m256 v) {
  float lanes[8];
  _mm256_storeu_ps(lanes, v);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

float multiply_add_fp32(std::int64_t rounds) {
  __m256 sum[kSums];
#pragma GCC unroll 10
  for (int i = 0; i < kSums; ++i) sum[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
  do {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sum[i] = _mm256_fmadd_ps(sum[i], factor, term);
  } while (--rounds > 0);
#pragma GCC unroll 10
  for (int i = 1; i < kSums; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return total(sum[0]);
}

/// Sums of 32 bits that g++ keeps in registers, which it does not with sums of 64-bit words.
using Words = std::uint32_t __attribute__((vector_size(32)));

/// Products of neighbours are exact in 16 bits for two weights of 7 bits, hence madd after each.
float multiply_add_int8(std::int64_t rounds) {
  Words sum[kSums];
#pragma GCC unroll 10
  for (int i = 0; i < kSums; ++i) sum[i] = Words{};
  __m256i x = _mm256_set1_epi8(3);
  const __m256i weight = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
  do {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) {
      __asm__ volatile("" : "+x"(x));  // else the product is taken out of the loop
      const __m256i products = _mm256_maddubs_epi16(x, weight);
      sum[i] += reinterpret_cast<Words>(_mm256_madd_epi16(products, one));
    }
  } while (--rounds > 0);
#pragma GCC unroll 10
  for (int i = 1; i < kSums; ++i) sum[0] += sum[i];
  return total(_mm256_cvtepi32_ps(reinterpret_cast<__m256i>(sum[0])));
}

std::uint64_t read(const std::byte* data, std::int64_t bytes) {
  constexpr int kVector = 32, kVectors = 8, kCacheLine = 64;
  __m256i sum[kVectors] = {};
  for (std::int64_t i = 0; i < bytes; i += kVectors * kVector)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const std::byte* from = data + i + v * kVector;
      if (v * kVector % kCacheLine == 0)
        _mm_prefetch(reinterpret_cast<const char*>(from + kReadAhead), _MM_HINT_T0);
      sum[v] = _mm256_add_epi64(sum[v], _mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
    }
#pragma GCC unroll 8
  for (int v = 1; v < kVectors; ++v) sum[0] = _mm256_add_epi64(sum[0], sum[v]);
  std::uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sum[0]);
  return words[0] + words[1] + words[2] + words[3];
}

}  // namespace

LimitFunctions limit_functions_avx2() {
  return {.name = "avx2",
          .read = read,
          .fp32 = {"avx2 vfmadd", 2 * 8 * kSums, multiply_add_fp32},
          .int8 = {"avx2 vpmaddubsw, vpmaddwd, vpaddd", 2 * 32 * kSums, multiply_add_int8},
          .bf16 = {}};
}

}  // namespace talpa::kernel
