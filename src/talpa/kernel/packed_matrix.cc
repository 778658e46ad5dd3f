#include "talpa/kernel/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "talpa/base/error.h"
#include "talpa/format/repack.h"
#include "talpa/kernel/panel_layout.h"

namespace talpa {

namespace {

using kernel::kPanelRows;

/// Rows of one panel on their way from the source.
class PanelPacker {
 public:
  PanelPacker(const RowSource& source, DType held)
      : source_(source),
        held_(held),
        held_columns_(kernel::held_columns(held, source.columns)),
        stored_row_bytes_(bytes_of(source.dtype, static_cast<std::uint64_t>(source.columns))),
        held_row_bytes_(bytes_of(held, static_cast<std::uint64_t>(held_columns_))),
        stored_(stored_row_bytes_ * kPanelRows) {
    if (source.dtype == held && held_columns_ == source.columns) return;
    converted_.resize(held_row_bytes_);
    if (!can_repack(source.dtype, held)) floats_.resize(static_cast<std::size_t>(held_columns_));
  }

  void pack(std::int64_t first, std::int64_t count, std::byte* panel) {
    source_.read(first, count, stored_.data());
    for (int c = 0; c < count; ++c) {
      const std::byte* row = stored_.data() + static_cast<std::uint64_t>(c) * stored_row_bytes_;
      if (!converted_.empty()) {
        convert(row);
        row = converted_.data();
      }
      kernel::insert_row(held_, row, source_.columns, c, panel);
    }
  }

 private:
  void convert(const std::byte* row) {
    if (floats_.empty()) {
      repack(source_.dtype, held_, row, converted_.data(), held_columns_);
    } else {
      to_float(source_.dtype, row, floats_.data(), source_.columns);
      from_float(held_, floats_.data(), converted_.data(), held_columns_);
    }
  }

  const RowSource& source_;
  DType held_;
  std::int64_t held_columns_;
  std::uint64_t stored_row_bytes_, held_row_bytes_;
  std::vector<std::byte> stored_, converted_;
  std::vector<float> floats_;
};

}  // namespace

RowSource rows_of(const float* data, std::int64_t rows, std::int64_t columns) {
  return {rows, columns, DType::kF32,
          [data, columns](std::int64_t first, std::int64_t count, std::byte* target) {
            std::memcpy(target, data + first * columns,
                        static_cast<std::size_t>(count * columns) * sizeof(float));
          }};
}

DType held_type(DType stored, std::optional<DType> wanted) {
  if (wanted) {
    if (!kernel::can_hold(*wanted))
      fail(ErrorCode::kUnsupported,
           "weights cannot be held as {}; choose f32, f16, bf16, q8_0, q4_0 or q4_1",
           name_of(*wanted));
    return *wanted;
  }
  if (kernel::can_hold(stored)) return stored;
  if (stored == DType::kF64) return DType::kF32;
  if (stored == DType::kQ4_K) return DType::kQ4_1;
  if (stored == DType::kQ3_0 || stored == DType::kQ2_0) return DType::kQ4_0;
  if (is_quantised(stored)) return DType::kQ8_0;
  fail(ErrorCode::kUnsupported, "weights of type {} cannot be run", name_of(stored));
}

int PackedMatrix::num_panels() const {
  return static_cast<int>((rows_ + kPanelRows - 1) / kPanelRows);
}

void PackedMatrix::read_row(std::int64_t row, float* target) const {
  TALPA_CHECK(row >= 0 && row < rows_);
  kernel::unpack_row(dtype_, panel(static_cast<int>(row / kPanelRows)), columns_,
                     static_cast<int>(row % kPanelRows), target);
}

std::vector<PackedMatrix> pack_stack(const RowSource& source, int count, DType held,
                                     ThreadPool& pool, kernel::PanelMemory* memory) {
  held = held_type(source.dtype, held);
  if (count <= 0 || source.rows % count != 0)
    fail(ErrorCode::kShape, "{} rows are not {} matrices of equal size", source.rows, count);
  PackedMatrix one;
  one.rows_ = source.rows / count;
  one.columns_ = source.columns;
  one.dtype_ = held;
  one.panel_bytes_ = kernel::panel_bytes_of(held, source.columns);
  const std::uint64_t bytes = one.bytes() * static_cast<unsigned>(count);
  const std::shared_ptr<std::byte> storage =
      memory != nullptr ? memory->allocate(bytes) : kernel::allocate_panels(bytes);
  one.storage_ = storage;
  std::vector<PackedMatrix> matrices(static_cast<std::size_t>(count), one);
  for (int i = 0; i < count; ++i)
    matrices[i].data_ = storage.get() + one.bytes() * static_cast<unsigned>(i);
  const std::int64_t panels = one.num_panels();
  const std::int64_t grain = std::clamp<std::int64_t>(count * panels / (4 * pool.size()), 1, 16);
  pool.parallel_for(count * panels, grain, [&](std::int64_t begin, std::int64_t end) {
    PanelPacker packer(source, held);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % panels * kPanelRows;
      std::byte* panel = storage.get() + i * one.panel_bytes_;
      std::memset(panel, 0, static_cast<std::size_t>(one.panel_bytes_));
      packer.pack(i / panels * one.rows_ + first,
                  std::min<std::int64_t>(kPanelRows, one.rows_ - first), panel);
    }
  });
  return matrices;
}

PackedMatrix pack(const RowSource& source, DType held, ThreadPool& pool,
                  kernel::PanelMemory* memory) {
  return pack_stack(source, 1, held, pool, memory).front();
}

}  // namespace talpa
