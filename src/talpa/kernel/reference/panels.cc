#include <cmath>
#include <cstring>
#include <vector>

#include "talpa/format/dtype.h"
#include "talpa/kernel/panel_layout.h"
#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {

namespace {

std::int64_t row_of(const PanelTask& t, int r) { return t.row_index ? t.row_index[r] : r; }

/// Calls value(row, panel, column in panel) for every element of y and stores or adds it.
template <class Value>
void for_elements(const PanelTask& t, const Value& value) {
  for (int r = 0; r < t.rows; ++r)
    for (std::int64_t c = 0; c < t.width; ++c) {
      float& y = t.y[r * t.y_stride + c];
      const float product =
          value(r, t.panels + c / kPanelRows * t.panel_bytes, static_cast<int>(c % kPanelRows));
      y = t.accumulate ? y + product : product;
    }
}

/// Weights widened to float, float activations, sums in double.
template <DType kType>
void float_products(const PanelTask& t) {
  std::vector<float> w(static_cast<std::size_t>(t.columns));
  for_elements(t, [&](int r, const std::byte* panel, int c) {
    unpack_row(kType, panel, t.columns, c, w.data());
    const float* x = t.x + row_of(t, r) * t.x_stride;
    double sum = 0;
    for (std::int64_t k = 0; k < t.columns; ++k) sum += static_cast<double>(x[k]) * w[k];
    return static_cast<float>(sum);
  });
}

void outer_products(const PanelTask& t) {
  for_elements(t, [&](int i, const std::byte* panel, int c) {
    const auto* w = reinterpret_cast<const float*>(panel) + c;
    double sum = 0;
    for (std::int64_t k = 0; k < t.columns; ++k) {
      const std::int64_t row = t.row_index ? t.row_index[k] : k;
      sum += static_cast<double>(t.x[row * t.x_stride + i]) * w[k * kPanelRows];
    }
    return static_cast<float>(sum);
  });
}

/// Integer sums by block, scaled and added in order: the arithmetic that the fast kernels follow.
template <DType kType>
void block_products(const PanelTask& t) {
  const std::int64_t blocks = t.columns / kBlock;
  std::vector<std::byte> row(bytes_of(kType, static_cast<std::uint64_t>(t.columns)));
  const auto block_bytes =
      static_cast<std::int64_t>(row.size()) / std::max<std::int64_t>(blocks, 1);
  for_elements(t, [&](int r, const std::byte* panel, int c) {
    extract_row(kType, panel, t.columns, c, row.data());
    const std::int8_t* q = t.q + row_of(t, r) * t.columns;
    float sum = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const BlockValues block = read_block(kType, row.data() + b * block_bytes);
      std::int32_t dot = 0, q_sum = 0;
      for (int i = 0; i < kBlock; ++i) {
        dot += block.q[i] * q[b * kBlock + i];
        q_sum += q[b * kBlock + i];
      }
      const float x_scale = t.q_scale[row_of(t, r) * blocks + b];
      sum = std::fma(static_cast<float>(dot), block.scale * x_scale, sum);
      if (kType == DType::kQ4_1)
        sum = std::fma(block.minimum, x_scale * static_cast<float>(q_sum), sum);
    }
    return sum;
  });
}

}  // namespace

PanelFunctions panel_functions_reference() {
  return {.f32 = float_products<DType::kF32>,
          .outer_f32 = outer_products,
          .f16 = float_products<DType::kF16>,
          .bf16 = float_products<DType::kBF16>,
          .q8_0 = block_products<DType::kQ8_0>,
          .q4_0 = block_products<DType::kQ4_0>,
          .q4_1 = block_products<DType::kQ4_1>};
}

PanelFunctions panel_functions_float_activations() {
  return {.q8_0 = float_products<DType::kQ8_0>,
          .q4_0 = float_products<DType::kQ4_0>,
          .q4_1 = float_products<DType::kQ4_1>};
}

}  // namespace talpa::kernel
