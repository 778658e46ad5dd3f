#include <immintrin.h>

#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {
namespace {

constexpr int kSums = 16;

float multiply_add_bf16(std::int64_t rounds) {
  __m512 sum[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(-1));
  const __m512bh weight = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
  do {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], x, weight);
  } while (--rounds > 0);
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, sum[0]);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

}  // namespace

LimitFunctions limit_functions_avx512_bf16() {
  return {.name = "avx512_bf16", .bf16 = {"avx512 vdpbf16ps", 2 * 32 * kSums, multiply_add_bf16}};
}

}  // namespace talpa::kernel
