#include <immintrin.h>

#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {
namespace {

constexpr int kLanes = 8;

inline float sum_of(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline std::int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

inline float max_of(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/// Lanes below n of a vector of 32-bit elements.
inline __m256i lanes_below(std::int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

/// A whole vector of a row, or what is left of it: masked loads and stores are slow on some
/// processors, so only the end of a row has them.
struct Whole {
  __m256 load(const float* p) const { return _mm256_loadu_ps(p); }
  void store(float* p, __m256 v) const { _mm256_storeu_ps(p, v); }
  /// Lanes of `v`, and of `other` beyond the row's end.
  __m256 keep(__m256 v, __m256) const { return v; }
};
struct Part {
  __m256i mask;
  __m256 load(const float* p) const { return _mm256_maskload_ps(p, mask); }
  void store(float* p, __m256 v) const { _mm256_maskstore_ps(p, mask, v); }
  __m256 keep(__m256 v, __m256 other) const {
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(mask));
  }
};

/// Calls step(first element, Whole or Part) along a row of n elements.
template <class Step>
inline void for_vectors(std::int64_t n, const Step& step) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) step(i, Whole{});
  if (i < n) step(i, Part{lanes_below(n - i)});
}

/// exp by 2^n times a polynomial of degree 6 on [-ln2/2, ln2/2]; error under 2 units of the last
/// place, 0 below -87.3, the largest finite power above 88.3, NaN of NaN.
inline __m256 exp_of(__m256 x) {
  const __m256 underflow = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3365f), _CMP_LT_OQ);
  x = _mm256_min_ps(_mm256_set1_ps(88.3762f), x);  // with the second operand NaN, NaN
  x = _mm256_max_ps(_mm256_set1_ps(-87.3365f), x);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1)));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_andnot_ps(underflow, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

void rms_norm(const float* x, const float* weight, float eps, float* y, std::int64_t n) {
  __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + kLanes);
    squares[0] = _mm256_fmadd_ps(a, a, squares[0]);
    squares[1] = _mm256_fmadd_ps(b, b, squares[1]);
  }
  for (; i < n; i += kLanes) {
    const __m256 a = _mm256_maskload_ps(x + i, lanes_below(n - i));
    squares[0] = _mm256_fmadd_ps(a, a, squares[0]);
  }
  const float mean = sum_of(_mm256_add_ps(squares[0], squares[1])) / static_cast<float>(n);
  const __m256 scale = _mm256_set1_ps(1.0f / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps))));
  for_vectors(n, [&](std::int64_t at, auto part) {
    const __m256 normed = _mm256_mul_ps(part.load(x + at), scale);
    part.store(y + at, _mm256_mul_ps(normed, part.load(weight + at)));
  });
}

void rotate(float* v, const float* cos, const float* sin, std::int64_t half) {
  for_vectors(half, [&](std::int64_t i, auto part) {
    const __m256 a = part.load(v + i), b = part.load(v + half + i);
    const __m256 c = part.load(cos + i), s = part.load(sin + i);
    part.store(v + i, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
    part.store(v + half + i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
  });
}

void silu_mul(const float* gate, const float* up, float* y, std::int64_t n) {
  const __m256 one = _mm256_set1_ps(1);
  for_vectors(n, [&](std::int64_t i, auto part) {
    const __m256 g = part.load(gate + i);
    const __m256 e = exp_of(_mm256_sub_ps(_mm256_setzero_ps(), g));
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, e));
    part.store(y + i, _mm256_mul_ps(silu, part.load(up + i)));
  });
}

float max(const float* x, std::int64_t n) {
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  __m256 best = lowest;
  for_vectors(n, [&](std::int64_t i, auto part) {
    best = _mm256_max_ps(best, part.keep(part.load(x + i), lowest));
  });
  return max_of(best);
}

float exp(float* x, float scale, float shift, std::int64_t n) {
  __m256 sum = _mm256_setzero_ps();
  for_vectors(n, [&](std::int64_t i, auto part) {
    const __m256 v = part.load(x + i);
    const __m256 e = exp_of(_mm256_fmsub_ps(v, _mm256_set1_ps(scale), _mm256_set1_ps(shift)));
    part.store(x + i, e);
    sum = _mm256_add_ps(sum, part.keep(e, _mm256_setzero_ps()));
  });
  return sum_of(sum);
}

void axpy(float a, const float* x, float* y, std::int64_t n) {
  const __m256 factor = _mm256_set1_ps(a);
  for_vectors(n, [&](std::int64_t i, auto part) {
    part.store(y + i, _mm256_fmadd_ps(factor, part.load(x + i), part.load(y + i)));
  });
}

/// Adding half of the last place kept, less one where it is even, rounds to nearest.
__m256i rounded_to_bf16(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i half = _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff));
  const __m256i number = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(number, _mm256_set1_epi32(0x7fc0), nan);
}

void to_bf16(const float* x, std::uint16_t* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i pair = _mm256_packus_epi32(rounded_to_bf16(_mm256_loadu_ps(x + i)),
                                             rounded_to_bf16(_mm256_loadu_ps(x + i + kLanes)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), _mm256_permute4x64_epi64(pair, 0xd8));
  }
  for (; i < n; ++i)
    y[i] =
        static_cast<std::uint16_t>(_mm256_extract_epi32(rounded_to_bf16(_mm256_set1_ps(x[i])), 0));
}

void to_f16(const float* x, std::uint16_t* y, std::int64_t n) {
  const __m256 most = _mm256_set1_ps(kLargestF16), least = _mm256_set1_ps(-kLargestF16);
  // The second operand is kept where a comparison is unordered, so NaN stays NaN.
  auto narrow = [&](__m256 v) {
    return _mm256_cvtps_ph(_mm256_max_ps(least, _mm256_min_ps(most, v)), _MM_FROUND_TO_NEAREST_INT);
  };
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), narrow(_mm256_loadu_ps(x + i)));
  for (; i < n; ++i)
    y[i] = static_cast<std::uint16_t>(_mm_extract_epi16(narrow(_mm256_set1_ps(x[i])), 0));
}

void quantise(const float* x, std::int64_t blocks, std::int8_t* q, float* scale,
              std::int32_t* sum) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  // packs_* work within 128-bit lanes; this puts the groups of four back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, q += kBlock) {
    __m256 v[4];
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + i * kLanes);
      largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, v[i]));
    }
    const float d = max_of(largest) / 127.0f;
    const __m256 inverse = _mm256_set1_ps(d > 0 ? 1.0f / d : 0.0f);
    __m256i n[4];
    for (int i = 0; i < 4; ++i) n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i total =
        _mm256_add_epi32(_mm256_add_epi32(n[0], n[1]), _mm256_add_epi32(n[2], n[3]));
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm256_permutevar8x32_epi32(bytes, order));
    scale[b] = d;
    sum[b] = sum_of(total);
  }
}

}  // namespace

const RowFunctions& row_functions_avx2() {
  static constexpr RowFunctions functions{rms_norm, rotate,  silu_mul, max,     exp,
                                          axpy,     to_bf16, to_f16,   quantise};
  return functions;
}

}  // namespace talpa::kernel
