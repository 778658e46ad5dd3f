#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/format/dtype.h"
#include "talpa/kernel/panel_memory.h"

namespace talpa {

/// Where a matrix comes from: rows as stored, asked for once each, from several threads.
struct RowSource {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  DType dtype = DType::kF32;
  /// Writes rows [first, first + count), as stored, to `target`.
  std::function<void(std::int64_t first, std::int64_t count, std::byte* target)> read;
};
/// Rows of floats in memory, which must outlive the source.
RowSource rows_of(const float* data, std::int64_t rows, std::int64_t columns);

/// Type that a stored matrix is held in. Without a wish:
///   F32, F16, BF16, Q8_0, Q4_0, Q4_1  stay as they are
///   F64                               F32
///   Q4_K                              Q4_1, same quants, scales rounded to fp16 (repack.h)
///   Q5_0                              Q8_0, exactly
///   Q3_0, Q2_0                        Q4_0, exactly
///   Q5_1, Q5_K, Q6_K                  Q8_0, requantised: no panel holds 5 or 6 bits with a minimum
///                                     or two scales a block; adds at most max|w| / 254 of a block
/// Throws kUnsupported for anything else, or a wish that cannot be held.
DType held_type(DType stored, std::optional<DType> wanted = std::nullopt);

/// A weight matrix [rows, columns] arranged for the kernels: rows in panels of 16, columns padded
/// to whole blocks of 32 where quantised. Copies share the bytes, which never change.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  DType dtype() const { return dtype_; }
  bool empty() const { return rows_ == 0; }
  /// Bytes held, padding included.
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(panel_bytes_ * num_panels()); }

  int num_panels() const;
  std::int64_t panel_bytes() const { return panel_bytes_; }
  const std::byte* panel(int index) const { return data_ + index * panel_bytes_; }

  /// One row as float: the embedding of a token.
  void read_row(std::int64_t row, float* target) const;

 private:
  friend std::vector<PackedMatrix> pack_stack(const RowSource&, int, DType, ThreadPool&,
                                              kernel::PanelMemory*);

  std::int64_t rows_ = 0, columns_ = 0, panel_bytes_ = 0;
  DType dtype_ = DType::kF32;
  const std::byte* data_ = nullptr;
  std::shared_ptr<const std::byte> storage_;
};

/// Packs a matrix in parallel. Rows stored as `held` are rearranged without loss, blocks that can
/// be repacked (repack.h) keep their quants, others go through float. With `memory`, panels lie
/// behind those packed before. Throws kUnsupported when `held` is no type of panels, or cannot hold
/// a scale.
PackedMatrix pack(const RowSource& source, DType held, ThreadPool& pool,
                  kernel::PanelMemory* memory = nullptr);
/// Packs `count` matrices that follow one another in `source` (experts, groups) into one piece of
/// memory. Throws kShape when the rows do not divide.
std::vector<PackedMatrix> pack_stack(const RowSource& source, int count, DType held,
                                     ThreadPool& pool, kernel::PanelMemory* memory = nullptr);

}  // namespace talpa
