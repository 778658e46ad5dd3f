#pragma once

#include <cstddef>
#include <cstdint>

namespace talpa::kernel {

/// Weight rows are held in panels of 16, interleaved so that one vector load brings the same
/// column of neighbouring rows. Nothing but plain structs here: this header is compiled for
/// several instruction sets.
constexpr int kPanelRows = 16;
/// Elements of a quantised block.
constexpr int kBlock = 32;

/// Products of activation rows with consecutive panels:
///   y[r, 16 p + c] (+)= sum_k x[row(r), k] * panel_p[k, c].
///
/// Panels of floats: [columns][16] of fp32 or fp16; bf16 in pairs of columns, [columns / 2][16][2],
/// an odd last column paired with zeros.
/// Panels of blocks, B = columns / 32: B blocks of quants, then B x 16 fp16 scales (Q4_1: 16
/// scales and 16 minima a block). Quants of a block: Q8_0 8 groups x 16 rows x 4 columns of int8;
/// Q4: 4 groups x 16 rows x 4 bytes, a byte holds column 4g + j low and 16 + 4g + j high.
struct PanelTask {
  const float* x = nullptr;  ///< float activations, or null
  std::int64_t x_stride = 0;

  const std::uint16_t* x_bf16 = nullptr;  ///< bf16 activations [.., even columns], or null
  std::int64_t x_bf16_stride = 0;

  const std::int8_t* q = nullptr;       ///< [.., columns] int8 activations, or null
  const float* q_scale = nullptr;       ///< [.., columns / 32]
  const std::int32_t* q_sum = nullptr;  ///< [.., columns / 32] sums of q over blocks

  const std::int32_t* row_index = nullptr;  ///< activation row of each row; null: row r itself
  int rows = 0;
  std::int64_t columns = 0;  ///< whole blocks where quantised

  const std::byte* panels = nullptr;
  std::int64_t panel_bytes = 0;
  int num_panels = 0;

  float* y = nullptr;
  std::int64_t y_stride = 0;
  std::int64_t width = 0;  ///< valid columns of y, at most 16 num_panels
  bool accumulate = false;
};

using PanelFunction = void (*)(const PanelTask&);

/// Panel functions of one instruction set, one per type that weights are held in; null where it
/// has none.
struct PanelFunctions {
  PanelFunction f32 = nullptr;
  /// Sums of outer products, of fp32 panels: y[i, 16 p + c] (+)= sum_k x[row(k), i] panel_p[k, c].
  /// `rows` counts i, `row_index` belongs to the `columns` k.
  PanelFunction outer_f32 = nullptr;
  PanelFunction f16 = nullptr;
  PanelFunction bf16 = nullptr;
  PanelFunction q8_0 = nullptr;
  PanelFunction q4_0 = nullptr;
  PanelFunction q4_1 = nullptr;
};

PanelFunctions panel_functions_avx2();
PanelFunctions panel_functions_avx512();
/// bf16 weights times activations rounded to bf16, pairs of products added in fp32.
PanelFunctions panel_functions_avx512_bf16();
PanelFunctions panel_functions_avx512_vnni();
/// bf16 weights times activations rounded to bf16, and blocks, in tiles; with AVX-512 VNNI.
PanelFunctions panel_functions_amx();
PanelFunctions panel_functions_reference();
/// Block formats with float activations: what the int8 activations are measured against.
PanelFunctions panel_functions_float_activations();

constexpr float kLargestF16 = 65504;

/// Work on rows that is not a product.
struct RowFunctions {
  /// y = x / sqrt(mean(x^2) + eps) * weight; y may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, float* y, std::int64_t n);
  /// Rotates pairs (v[i], v[i + half]) by the angles.
  void (*rotate)(float* v, const float* cos, const float* sin, std::int64_t half);
  /// y = gate * sigmoid(gate) * up; y may be gate.
  void (*silu_mul)(const float* gate, const float* up, float* y, std::int64_t n);
  /// Largest element, -infinity of none.
  float (*max)(const float* x, std::int64_t n);
  /// x = exp(scale * x - shift); returns the sum.
  float (*exp)(float* x, float scale, float shift, std::int64_t n);
  /// y += a * x.
  void (*axpy)(float a, const float* x, float* y, std::int64_t n);
  /// bf16 nearest to x, ties to even.
  void (*to_bf16)(const float* x, std::uint16_t* y, std::int64_t n);
  /// F16 nearest to x, ties to even; beyond its range the largest number.
  void (*to_f16)(const float* x, std::uint16_t* y, std::int64_t n);
  /// Blocks of 32: q = round(x / scale), scale = max|x| / 127, sum of q.
  void (*quantise)(const float* x, std::int64_t blocks, std::int8_t* q, float* scale,
                   std::int32_t* sum);
};

const RowFunctions& row_functions_avx2();
const RowFunctions& row_functions_reference();

}  // namespace talpa::kernel
