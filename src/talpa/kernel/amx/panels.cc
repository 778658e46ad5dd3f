#include <immintrin.h>

#include "talpa/kernel/amx/bf16_panels.h"
#include "talpa/kernel/amx/block_panels.h"

namespace talpa::kernel {
namespace {

/// Every machine with AMX has AVX-512 with VNNI.
struct Amx : HardwareTiles {
  using F = __m512;

  static F set(float v) { return _mm512_set1_ps(v); }
  static F load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F from_int(const std::int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static void write(float* p, F v) { _mm512_storeu_ps(p, v); }
  static PanelFunctions few_rows() { return panel_functions_avx512_vnni(); }

  static void expand(const std::byte* quants, int offset, std::byte* weights) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i shift = _mm512_set1_epi8(static_cast<char>(offset));
    for (int g = 0; g < 4; ++g) {
      const __m512i both = _mm512_loadu_si512(quants + g * 64);
      const __m512i low = _mm512_and_si512(both, mask);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
      _mm512_storeu_si512(weights + g * 64, _mm512_sub_epi8(low, shift));
      _mm512_storeu_si512(weights + (g + 4) * 64, _mm512_sub_epi8(high, shift));
    }
  }
};

}  // namespace

PanelFunctions panel_functions_amx() {
  return {.bf16 = bf16_panels<Amx>,
          .q8_0 = block_panels<Amx, Q8>,
          .q4_0 = block_panels<Amx, Q40>,
          .q4_1 = block_panels<Amx, Q41>};
}

}  // namespace talpa::kernel
