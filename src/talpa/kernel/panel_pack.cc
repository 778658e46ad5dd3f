#include "talpa/kernel/panel_pack.h"

#include <xmmintrin.h>

#include <algorithm>
#include <cstring>

#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {
namespace {

/// Four columns of four rows, turned.
inline void turn(const float* w, std::int64_t stride, float* panel) {
  __m128 a = _mm_loadu_ps(w), b = _mm_loadu_ps(w + stride);
  __m128 c = _mm_loadu_ps(w + 2 * stride), d = _mm_loadu_ps(w + 3 * stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(panel, a);
  _mm_storeu_ps(panel + kPanelRows, b);
  _mm_storeu_ps(panel + 2 * kPanelRows, c);
  _mm_storeu_ps(panel + 3 * kPanelRows, d);
}

}  // namespace

void pack_panel_of_rows(const float* w, std::int64_t stride, int rows, std::int64_t columns,
                        float* panel) {
  const std::int64_t whole = rows == kPanelRows ? columns / 4 * 4 : 0;
  for (std::int64_t k = 0; k < whole; k += 4)
    for (int c = 0; c < kPanelRows; c += 4)
      turn(w + c * stride + k, stride, panel + k * kPanelRows + c);
  for (std::int64_t k = whole; k < columns; ++k)
    for (int c = 0; c < kPanelRows; ++c)
      panel[k * kPanelRows + c] = c < rows ? w[c * stride + k] : 0;
}

void pack_panel_of_columns(const float* x, std::int64_t stride, const std::int32_t* row_index,
                           std::int64_t count, int width, float* panel) {
  for (std::int64_t k = 0; k < count; ++k, panel += kPanelRows) {
    const float* row = x + (row_index != nullptr ? row_index[k] : k) * stride;
    if (width == kPanelRows) {
      std::memcpy(panel, row, kPanelRows * sizeof(float));
    } else {
      std::fill(std::copy_n(row, width, panel), panel + kPanelRows, 0.0f);
    }
  }
}

}  // namespace talpa::kernel
