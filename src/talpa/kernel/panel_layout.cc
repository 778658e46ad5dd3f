#include "talpa/kernel/panel_layout.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "talpa/base/error.h"

namespace talpa::kernel {

namespace {

/// How stored blocks are taken apart.
struct BlockLayout {
  int scale_bytes;  ///< fp16 scale, and minimum if any
  int quant_bytes;

  int stored_bytes() const { return scale_bytes + quant_bytes; }
};

BlockLayout layout_of(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return {2, 32};
    case DType::kQ4_0:
      return {2, 16};
    case DType::kQ4_1:
      return {4, 16};
    default:
      fail(ErrorCode::kInternal, "no panel of blocks of type {}", name_of(dtype));
  }
}

/// Calls copy.operator()<bytes>(offset in the row, offset in the panel) for every piece of row
/// `c`; sizes known to the compiler make each a single move.
template <class Copy>
void for_pieces(DType dtype, std::int64_t columns, int c, const Copy& copy) {
  if (!is_quantised(dtype)) {
    const bool wide = info_of(dtype).block_bytes == 4;
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::int64_t at = position_in_panel(dtype, k, c);
      if (wide) {
        copy.template operator()<4>(k * 4, at * 4);
      } else {
        copy.template operator()<2>(k * 2, at * 2);
      }
    }
    return;
  }
  const BlockLayout layout = layout_of(dtype);
  const std::int64_t blocks = held_columns(dtype, columns) / kBlock;
  const std::int64_t scales = blocks * layout.quant_bytes * kPanelRows;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t row = b * layout.stored_bytes();
    for (int s = 0; s < layout.scale_bytes / 2; ++s)
      copy.template operator()<2>(
          row + 2 * s, scales + b * layout.scale_bytes * kPanelRows + 2 * (s * kPanelRows + c));
    for (int g = 0; g < layout.quant_bytes / 4; ++g)
      copy.template operator()<4>(row + layout.scale_bytes + 4 * g,
                                  (b * layout.quant_bytes + 4 * g) * kPanelRows + 4 * c);
  }
}

}  // namespace

bool can_hold(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
      return true;
    default:
      return false;
  }
}

std::int64_t held_columns(DType dtype, std::int64_t columns) {
  return is_quantised(dtype) ? (columns + kBlock - 1) / kBlock * kBlock : columns;
}

std::int64_t panel_bytes_of(DType dtype, std::int64_t columns) {
  const std::int64_t held =
      dtype == DType::kBF16 ? (columns + 1) / 2 * 2 : held_columns(dtype, columns);
  const auto elements = static_cast<std::uint64_t>(held) * kPanelRows;
  return static_cast<std::int64_t>((bytes_of(dtype, elements) + 63) / 64 * 64);
}

void insert_row(DType dtype, const std::byte* row, std::int64_t columns, int c, std::byte* panel) {
  for_pieces(dtype, columns, c, [&]<int N>(std::int64_t in_row, std::int64_t in_panel) {
    std::memcpy(panel + in_panel, row + in_row, N);
  });
}

void extract_row(DType dtype, const std::byte* panel, std::int64_t columns, int c, std::byte* row) {
  for_pieces(dtype, columns, c, [&]<int N>(std::int64_t in_row, std::int64_t in_panel) {
    std::memcpy(row + in_row, panel + in_panel, N);
  });
}

void unpack_row(DType dtype, const std::byte* panel, std::int64_t columns, int c, float* row) {
  const std::int64_t held = held_columns(dtype, columns);
  std::vector<std::byte> stored(bytes_of(dtype, static_cast<std::uint64_t>(held)));
  extract_row(dtype, panel, columns, c, stored.data());
  if (held == columns) return to_float(dtype, stored.data(), row, columns);
  std::vector<float> padded(static_cast<std::size_t>(held));
  to_float(dtype, stored.data(), padded.data(), held);
  std::copy_n(padded.begin(), columns, row);
}

BlockValues read_block(DType dtype, const std::byte* block) {
  BlockValues values;
  std::uint16_t half;
  std::memcpy(&half, block, 2);
  values.scale = f16_to_float(half);
  const std::byte* quants = block + layout_of(dtype).scale_bytes;
  if (dtype == DType::kQ8_0) {
    for (int i = 0; i < kBlock; ++i) values.q[i] = static_cast<std::int8_t>(quants[i]);
    return values;
  }
  const int shift = dtype == DType::kQ4_0 ? 8 : 0;
  for (int i = 0; i < kBlock / 2; ++i) {
    values.q[i] = std::to_integer<int>(quants[i] & std::byte{15}) - shift;
    values.q[i + kBlock / 2] = std::to_integer<int>(quants[i] >> 4) - shift;
  }
  if (dtype == DType::kQ4_1) {
    std::memcpy(&half, block + 2, 2);
    values.minimum = f16_to_float(half);
  }
  return values;
}

}  // namespace talpa::kernel
