#pragma once

#include <cstdint>
#include <vector>

#include "talpa/format/dtype.h"

namespace talpa {

/// Rows of numbers kept in one type, to be read back as floats: factors of experts that are
/// multiplied out now and then. Rows of block formats are padded to whole blocks.
class HeldRows {
 public:
  HeldRows() = default;
  /// Of a type that panels can be held in (kernel/packed_matrix.h).
  HeldRows(std::int64_t rows, std::int64_t columns, DType dtype);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::uint64_t bytes() const { return bytes_.size(); }

  /// Rows [first, first + count), `columns` apart. Calls on different rows may run side by side.
  void write(std::int64_t first, std::int64_t count, const float* source);
  void read(std::int64_t first, std::int64_t count, float* target) const;

 private:
  std::int64_t rows_ = 0, columns_ = 0, padded_columns_ = 0, row_bytes_ = 0;
  DType dtype_ = DType::kF32;
  std::vector<std::byte> bytes_;
};

}  // namespace talpa
