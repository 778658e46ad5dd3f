#include "talpa/kernel/isa/panel_kernels.h"

namespace talpa::kernel {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16, kHalves = 1, kMaxRows = 12, kPanels = 2, kMaxBlockRows = 8;

  static F zero() { return _mm512_setzero_ps(); }
  static I zero_i() { return _mm512_setzero_si512(); }
  static F set(float v) { return _mm512_set1_ps(v); }
  static F broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  static F load_f16(const std::byte* p) { return _mm512_cvtph_ps(load_256(p)); }
  static __m256i load_256(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static I load_i(const std::byte* p) { return _mm512_loadu_si512(p); }
};

struct SameOrder {
  static __m512 from_order(__m512 v) { return v; }
  static __m512 to_order(__m512 v) { return v; }
};

struct F32Weights : SameOrder {
  static constexpr int kColumnBytes = 64;
  static void load(const std::byte* p, __m512* w) {
    w[0] = _mm512_loadu_ps(reinterpret_cast<const float*>(p));
  }
};

struct F16Weights : SameOrder {
  static constexpr int kColumnBytes = 32;
  static void load(const std::byte* p, __m512* w) { w[0] = Avx512::load_f16(p); }
};

/// Panels hold bf16 in the order 0 8 1 9 ... 7 15; accumulators keep it until they are stored.
struct Bf16Weights {
  static constexpr int kColumnBytes = 32;
  static void load(const std::byte* p, __m512* w) {
    const __m512i wide = _mm512_cvtepu16_epi32(Avx512::load_256(p));
    w[0] = _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static __m512 to_order(__m512 v) {
    const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_permutexvar_ps(from, v);
  }
  static __m512 from_order(__m512 v) {
    const __m512i from = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    return _mm512_permutexvar_ps(from, v);
  }
};

/// dpbusd multiplies unsigned by signed: weights are shifted by 128 and the shift is taken out
/// with the sum of the activations.
struct Q8 {
  static constexpr int kQuantBytes = 512, kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  template <int R>
  static void dot(const std::byte* quants, const std::int8_t* const* q, std::int64_t k,
                  __m512i* sum) {
    const __m512i shift = _mm512_set1_epi8(-128);
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      const __m512i w = _mm512_xor_si512(Avx512::load_i(quants + g * 64), shift);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
        sum[r] = _mm512_dpbusd_epi32(sum[r], w, _mm512_set1_epi32(load_4(q[r] + k + 4 * g)));
    }
  }
  static __m512i finish(__m512i sum, std::int32_t x_sum) {
    return _mm512_sub_epi32(sum, _mm512_set1_epi32(128 * x_sum));
  }
};

struct Q4 {
  static constexpr int kQuantBytes = 256;
  template <int R>
  static void dot(const std::byte* quants, const std::int8_t* const* q, std::int64_t k,
                  __m512i* sum) {
    const __m512i mask = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const __m512i both = Avx512::load_i(quants + g * 64);
      const __m512i low = _mm512_and_si512(both, mask);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const std::int8_t* x = q[r] + k + 4 * g;
        sum[r] = _mm512_dpbusd_epi32(sum[r], low, _mm512_set1_epi32(load_4(x)));
        sum[r] = _mm512_dpbusd_epi32(sum[r], high, _mm512_set1_epi32(load_4(x + 16)));
      }
    }
  }
};

struct Q40 : Q4 {
  static constexpr int kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  static __m512i finish(__m512i sum, std::int32_t x_sum) {
    return _mm512_sub_epi32(sum, _mm512_set1_epi32(8 * x_sum));
  }
};

struct Q41 : Q4 {
  static constexpr int kScaleBytes = 64;
  static constexpr bool kHasMinimum = true;
  static __m512i finish(__m512i sum, std::int32_t) { return sum; }
};

}  // namespace

PanelFunctions panel_functions_avx512() {
  return {.f32 = float_panels<Avx512, F32Weights>,
          .f16 = float_panels<Avx512, F16Weights>,
          .bf16 = float_panels<Avx512, Bf16Weights>};
}

PanelFunctions panel_functions_avx512_vnni() {
  return {.q8_0 = block_panels<Avx512, Q8>,
          .q4_0 = block_panels<Avx512, Q40>,
          .q4_1 = block_panels<Avx512, Q41>};
}

}  // namespace talpa::kernel
