#include "talpa/kernel/isa/panel_kernels.h"

namespace talpa::kernel {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16, kHalves = 1, kMaxRows = 6, kPanels = 4;
  static constexpr int kMaxBlockRows = 6, kBlockPanels = 2, kPanelsOfOneRow = 4;

  static F zero() { return _mm512_setzero_ps(); }
  static I zero_i() { return _mm512_setzero_si512(); }
  static F broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static I broadcast_i(const std::int32_t* p) { return _mm512_set1_epi32(*p); }
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

struct F32Weights : FloatActivations<Avx512> {
  static constexpr int kColumnBytes = 64, kStep = 1;
  static void load(const std::byte* p, int, __m512 (&w)[1]) {
    w[0] = _mm512_loadu_ps(reinterpret_cast<const float*>(p));
  }
};

struct F16Weights : FloatActivations<Avx512> {
  static constexpr int kColumnBytes = 32, kStep = 1;
  static void load(const std::byte* p, int, __m512 (&w)[1]) { w[0] = Avx512::load_f16(p); }
};

struct Bf16Weights : FloatActivations<Avx512> {
  static constexpr int kColumnBytes = 32, kStep = 2;
  static void load(const std::byte* p, int second, __m512 (&w)[1]) {
    const __m512i pairs = Avx512::load_i(p), high = _mm512_set1_epi32(0xffff0000);
    w[0] =
        _mm512_castsi512_ps(second ? _mm512_and_si512(pairs, high) : _mm512_slli_epi32(pairs, 16));
  }
};

/// dpbusd multiplies unsigned by signed: weights are shifted by 128 and the shift is taken out
/// with the sum of the activations.
struct Q8 {
  static constexpr int kQuantBytes = 512, kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  template <int R, int P>
  static void dot(const std::byte* quants, std::int64_t panel_bytes, const std::int8_t* const* q,
                  std::int64_t k, __m512i (&sum)[R][P][1]) {
    const __m512i shift = _mm512_set1_epi8(-128);
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      __m512i w[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
        w[p] = _mm512_xor_si512(Avx512::load_i(quants + p * panel_bytes + g * 64), shift);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_set1_epi32(load_4(q[r] + k + 4 * g));
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) sum[r][p][0] = _mm512_dpbusd_epi32(sum[r][p][0], w[p], x);
      }
    }
  }
  static __m512i start(const std::int32_t* x_sum) { return _mm512_set1_epi32(*x_sum * -128); }
  static __m512i finish(__m512i sum, const std::int32_t*) { return sum; }
};

struct Q4 {
  static constexpr int kQuantBytes = 256;
  template <int R, int P>
  static void dot(const std::byte* quants, std::int64_t panel_bytes, const std::int8_t* const* q,
                  std::int64_t k, __m512i (&sum)[R][P][1]) {
    const __m512i mask = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      __m512i low[P], high[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const __m512i both = Avx512::load_i(quants + p * panel_bytes + g * 64);
        low[p] = _mm512_and_si512(both, mask);
        high[p] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const std::int8_t* x = q[r] + k + 4 * g;
        const __m512i x0 = _mm512_set1_epi32(load_4(x)), x1 = _mm512_set1_epi32(load_4(x + 16));
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          sum[r][p][0] = _mm512_dpbusd_epi32(sum[r][p][0], low[p], x0);
          sum[r][p][0] = _mm512_dpbusd_epi32(sum[r][p][0], high[p], x1);
        }
      }
    }
  }
};

struct Q40 : Q4 {
  static constexpr int kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  static __m512i start(const std::int32_t* x_sum) { return _mm512_set1_epi32(*x_sum * -8); }
  static __m512i finish(__m512i sum, const std::int32_t*) { return sum; }
};

struct Q41 : Q4 {
  static constexpr int kScaleBytes = 64;
  static constexpr bool kHasMinimum = true;
  static __m512i start(const std::int32_t*) { return Avx512::zero_i(); }
  static __m512i finish(__m512i sum, const std::int32_t*) { return sum; }
};

}  // namespace

PanelFunctions panel_functions_avx512() {
  return {.f32 = float_panels<Avx512, F32Weights>,
          .outer_f32 = outer_panels<Avx512>,
          .f16 = float_panels<Avx512, F16Weights>,
          .bf16 = float_panels<Avx512, Bf16Weights>};
}

PanelFunctions panel_functions_avx512_vnni() {
  return {.q8_0 = block_panels<Avx512, Q8>,
          .q4_0 = block_panels<Avx512, Q40>,
          .q4_1 = block_panels<Avx512, Q41>};
}

}  // namespace talpa::kernel
