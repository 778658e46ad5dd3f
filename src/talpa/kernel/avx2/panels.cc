#include "talpa/kernel/isa/panel_kernels.h"

namespace talpa::kernel {
namespace {

struct Avx2 {
  using F = __m256;
  using I = __m256i;
  static constexpr int kLanes = 8, kHalves = 2, kMaxRows = 6, kPanels = 1;
  static constexpr int kMaxBlockRows = 4, kBlockPanels = 1, kPanelsOfOneRow = 2;

  static F zero() { return _mm256_setzero_ps(); }
  static I zero_i() { return _mm256_setzero_si256(); }
  static F broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static I broadcast_i(const std::int32_t* p) { return _mm256_set1_epi32(*p); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F to_float(I v) { return _mm256_cvtepi32_ps(v); }
  static F load_f16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_i(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
};

struct F32Weights : FloatActivations<Avx2> {
  static constexpr int kColumnBytes = 64, kStep = 1;
  static void load(const std::byte* p, int, __m256 (&w)[2]) {
    w[0] = _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    w[1] = _mm256_loadu_ps(reinterpret_cast<const float*>(p) + 8);
  }
};

struct F16Weights : FloatActivations<Avx2> {
  static constexpr int kColumnBytes = 32, kStep = 1;
  static void load(const std::byte* p, int, __m256 (&w)[2]) {
    w[0] = Avx2::load_f16(p);
    w[1] = Avx2::load_f16(p + 16);
  }
};

struct Bf16Weights : FloatActivations<Avx2> {
  static constexpr int kColumnBytes = 32, kStep = 2;
  static void load(const std::byte* p, int second, __m256 (&w)[2]) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      // Shifted down and up again: a mask would take the last register of the tile.
      const __m256i pairs = Avx2::load_i(p + 32 * h);
      w[h] =
          _mm256_castsi256_ps(_mm256_slli_epi32(second ? _mm256_srli_epi32(pairs, 16) : pairs, 16));
    }
  }
};

inline __m256i add_pairs(__m256i products) {
  return _mm256_madd_epi16(products, _mm256_set1_epi16(1));
}

/// A value that is to be in a register here. Without it the compiler forms all products of a
/// block first, in memory, and adds them up afterwards.
inline __m256i held(__m256i v) {
  asm volatile("" : "+x"(v));
  return v;
}

/// Four activations for every lane.
inline __m256i activations(const std::int8_t* x) { return held(_mm256_set1_epi32(load_4(x))); }

/// maddubs multiplies unsigned by signed: |w| by x with the sign of w. Two such products fit
/// into 16 bits, four would not.
struct Q8 {
  static constexpr int kQuantBytes = 512, kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  template <int R, int P>
  static void dot(const std::byte* quants, std::int64_t panel_bytes, const std::int8_t* const* q,
                  std::int64_t k, __m256i (&sum)[R][P][2]) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const std::byte* panel = quants + p * panel_bytes + g * 64;
        const __m256i w[2] = {Avx2::load_i(panel), Avx2::load_i(panel + 32)};
        const __m256i magnitude[2] = {_mm256_abs_epi8(w[0]), _mm256_abs_epi8(w[1])};
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const __m256i x = activations(q[r] + k + 4 * g);
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m256i products = _mm256_maddubs_epi16(magnitude[h], _mm256_sign_epi8(x, w[h]));
            sum[r][p][h] = held(_mm256_add_epi32(sum[r][p][h], add_pairs(products)));
          }
        }
      }
  }
  static __m256i start(const std::int32_t*) { return Avx2::zero_i(); }
  static __m256i finish(__m256i sum, const std::int32_t*) { return sum; }
};

/// Nibbles are unsigned, and the eight products of a block's column still fit into 16 bits.
struct Q4 {
  static constexpr int kQuantBytes = 256;
  template <int R, int P>
  static void dot(const std::byte* quants, std::int64_t panel_bytes, const std::int8_t* const* q,
                  std::int64_t k, __m256i (&sum)[R][P][2]) {
    const __m256i mask = _mm256_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const std::byte* panel = quants + p * panel_bytes + g * 64;
        const __m256i both[2] = {Avx2::load_i(panel), Avx2::load_i(panel + 32)};
#pragma GCC unroll 2
        for (int high = 0; high < 2; ++high) {
          __m256i w[2];
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h)
            w[h] = _mm256_and_si256(high ? _mm256_srli_epi16(both[h], 4) : both[h], mask);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const __m256i x = activations(q[r] + k + 4 * g + 16 * high);
#pragma GCC unroll 2
            for (int h = 0; h < 2; ++h)
              sum[r][p][h] = held(_mm256_add_epi16(sum[r][p][h], _mm256_maddubs_epi16(w[h], x)));
          }
        }
      }
  }
};

struct Q40 : Q4 {
  static constexpr int kScaleBytes = 32;
  static constexpr bool kHasMinimum = false;
  static __m256i start(const std::int32_t*) { return Avx2::zero_i(); }
  static __m256i finish(__m256i sum, const std::int32_t* x_sum) {
    return _mm256_sub_epi32(add_pairs(sum), _mm256_slli_epi32(Avx2::broadcast_i(x_sum), 3));
  }
};

struct Q41 : Q4 {
  static constexpr int kScaleBytes = 64;
  static constexpr bool kHasMinimum = true;
  static __m256i start(const std::int32_t*) { return Avx2::zero_i(); }
  static __m256i finish(__m256i sum, const std::int32_t*) { return add_pairs(sum); }
};

}  // namespace

PanelFunctions panel_functions_avx2() {
  return {.f32 = float_panels<Avx2, F32Weights>,
          .outer_f32 = outer_panels<Avx2>,
          .f16 = float_panels<Avx2, F16Weights>,
          .bf16 = float_panels<Avx2, Bf16Weights>,
          .q8_0 = block_panels<Avx2, Q8>,
          .q4_0 = block_panels<Avx2, Q40>,
          .q4_1 = block_panels<Avx2, Q41>};
}

}  // namespace talpa::kernel
