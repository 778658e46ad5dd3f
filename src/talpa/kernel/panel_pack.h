#pragma once

#include <cstdint>

/// Single fp32 panels ([columns][16], panel_task.h) for matrices that live for one product, as
/// those of a training step do.
namespace talpa::kernel {

/// The panel of `rows` rows (at most 16) of w [rows, columns], `stride` apart; others are zeros.
void pack_panel_of_rows(const float* w, std::int64_t stride, int rows, std::int64_t columns,
                        float* panel);

/// The panel of `width` columns (at most 16) of x: panel[k, c] = x[row(k), c] for `count` rows,
/// row(k) = row_index[k] or k; others are zeros.
void pack_panel_of_columns(const float* x, std::int64_t stride, const std::int32_t* row_index,
                           std::int64_t count, int width, float* panel);

}  // namespace talpa::kernel
