#include "talpa/kernel/isa/panel_kernels.h"

namespace talpa::kernel {
namespace {

struct Avx512 {
  using F = __m512;
  static constexpr int kLanes = 16, kHalves = 1, kMaxRows = 6, kPanels = 4;

  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
};

/// dpbf16 adds the products of a pair of columns at once. Activations end in a whole pair.
struct PairWeights {
  using X = std::uint16_t;
  using W = __m512bh;
  static constexpr int kColumnBytes = 32, kStep = 2;
  static constexpr bool kPairs = true;

  static const X* row(const PanelTask& t, std::int64_t r) { return t.x_bf16 + r * t.x_bf16_stride; }
  static void load(const std::byte* p, int, W (&w)[1]) { __builtin_memcpy(&w[0], p, 64); }
  static W broadcast(const X* x) {
    std::int32_t pair;
    __builtin_memcpy(&pair, x, 4);
    return reinterpret_cast<W>(_mm512_set1_epi32(pair));
  }
  static __m512 multiply_add(W b, W w, __m512 acc) { return _mm512_dpbf16_ps(acc, w, b); }
};

}  // namespace

PanelFunctions panel_functions_avx512_bf16() { return {.bf16 = float_panels<Avx512, PairWeights>}; }

}  // namespace talpa::kernel
