#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "talpa/format/dtype.h"
#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {

/// True for the types that panels hold: F32, F16, BF16, Q8_0, Q4_0, Q4_1.
bool can_hold(DType dtype);
/// Columns as held: whole blocks for quantised types.
std::int64_t held_columns(DType dtype, std::int64_t columns);
/// Bytes of a panel, a multiple of 64; the layout is described in panel_task.h.
std::int64_t panel_bytes_of(DType dtype, std::int64_t columns);

/// Element of a panel of floats that holds column `k` of row `c`.
inline std::int64_t position_in_panel(DType dtype, std::int64_t k, int c) {
  if (dtype != DType::kBF16) return k * kPanelRows + c;
  return k / 2 * 2 * kPanelRows + 2 * c + k % 2;
}

/// Puts row `c` (0..15), `held_columns` elements of `dtype` as stored, into a panel.
void insert_row(DType dtype, const std::byte* row, std::int64_t columns, int c, std::byte* panel);
/// The inverse of insert_row.
void extract_row(DType dtype, const std::byte* panel, std::int64_t columns, int c, std::byte* row);
/// Row `c` of a panel as float.
void unpack_row(DType dtype, const std::byte* panel, std::int64_t columns, int c, float* row);

/// One stored block: w = scale * q + minimum.
struct BlockValues {
  float scale = 0, minimum = 0;
  std::array<std::int32_t, kBlock> q{};
};
BlockValues read_block(DType dtype, const std::byte* block);

}  // namespace talpa::kernel
