#include "talpa/engine/held_rows.h"

#include <algorithm>

#include "talpa/kernel/panel_layout.h"

namespace talpa {

HeldRows::HeldRows(std::int64_t rows, std::int64_t columns, DType dtype)
    : rows_(rows),
      columns_(columns),
      padded_columns_(kernel::held_columns(dtype, columns)),
      row_bytes_(
          static_cast<std::int64_t>(bytes_of(dtype, static_cast<std::uint64_t>(padded_columns_)))),
      dtype_(dtype),
      bytes_(static_cast<std::size_t>(rows * row_bytes_)) {}

void HeldRows::write(std::int64_t first, std::int64_t count, const float* source) {
  std::byte* target = bytes_.data() + first * row_bytes_;
  if (padded_columns_ == columns_) return from_float(dtype_, source, target, count * columns_);
  std::vector<float> padded(static_cast<std::size_t>(padded_columns_));
  for (std::int64_t i = 0; i < count; ++i, source += columns_, target += row_bytes_) {
    std::copy_n(source, columns_, padded.begin());
    from_float(dtype_, padded.data(), target, padded_columns_);
  }
}

void HeldRows::read(std::int64_t first, std::int64_t count, float* target) const {
  const std::byte* source = bytes_.data() + first * row_bytes_;
  if (padded_columns_ == columns_) return to_float(dtype_, source, target, count * columns_);
  std::vector<float> padded(static_cast<std::size_t>(padded_columns_));
  for (std::int64_t i = 0; i < count; ++i, source += row_bytes_, target += columns_) {
    to_float(dtype_, source, padded.data(), padded_columns_);
    std::copy_n(padded.begin(), columns_, target);
  }
}

}  // namespace talpa
