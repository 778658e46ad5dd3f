#include "talpa/kernel/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernel/kernel_cases.h"
#include "scratch.h"

namespace talpa::testing {
namespace {

/// A matrix of one stored type, made from bytes.
struct StoredMatrix {
  DType dtype;
  std::int64_t rows, columns;
  std::vector<std::byte> bytes;

  /// Random quants; every fp16 that a block format begins with (or, Q6_K, ends with) is small.
  StoredMatrix(DType stored, std::int64_t num_rows, std::int64_t num_columns)
      : dtype(stored),
        rows(num_rows),
        columns(num_columns),
        bytes(bytes_of(stored, static_cast<std::uint64_t>(num_rows * num_columns))) {
    Random random(11);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.below(256));
    const auto block = static_cast<std::size_t>(info_of(dtype).block_bytes);
    const std::uint16_t scale = float_to_f16(1e-3f);
    for (std::size_t at = 0; at < bytes.size(); at += block) {
      std::memcpy(&bytes[at + (dtype == DType::kQ6_K ? block - 2 : 0)], &scale, 2);
      if (dtype == DType::kQ4_K || dtype == DType::kQ5_K || dtype == DType::kQ5_1)
        std::memcpy(&bytes[at + 2], &scale, 2);
    }
  }

  RowSource source() const {
    const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(rows);
    return {rows, columns, dtype, [this, row_bytes](auto first, auto count, std::byte* target) {
              std::copy_n(bytes.data() + static_cast<std::size_t>(first) * row_bytes,
                          static_cast<std::size_t>(count) * row_bytes, target);
            }};
  }
  std::vector<float> floats() const {
    std::vector<float> values(static_cast<std::size_t>(rows * columns));
    to_float(dtype, bytes.data(), values.data(), rows * columns);
    return values;
  }
};

std::vector<float> rows_as_floats(const PackedMatrix& matrix) {
  std::vector<float> values(static_cast<std::size_t>(matrix.rows() * matrix.columns()));
  for (std::int64_t r = 0; r < matrix.rows(); ++r)
    matrix.read_row(r, values.data() + r * matrix.columns());
  return values;
}

/// Root mean square of the difference over that of `exact`.
double relative_error(const std::vector<float>& values, const std::vector<float>& exact) {
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double{values[i]} - exact[i], 2);
    scale += double{exact[i]} * exact[i];
  }
  return std::sqrt(error / scale);
}

struct StoredCase {
  DType stored;
  DType held;
  double bytes;  ///< held, over bytes stored
  double error;
};

class StoredTypes : public ::testing::TestWithParam<StoredCase> {};

TEST_P(StoredTypes, AreHeldWithinTheirError) {
  ThreadPool pool(2);
  const StoredMatrix stored(GetParam().stored, 37, 512);
  const DType held = held_type(stored.dtype);
  EXPECT_EQ(held, GetParam().held);
  const PackedMatrix packed = pack(stored.source(), held, pool);
  EXPECT_LE(relative_error(rows_as_floats(packed), stored.floats()), GetParam().error);
  const double whole_panels = 48.0 / 37;
  EXPECT_NEAR(static_cast<double>(packed.bytes()),
              static_cast<double>(stored.bytes.size()) * GetParam().bytes * whole_panels, 64 * 3);
}

INSTANTIATE_TEST_SUITE_P(
    All, StoredTypes,
    ::testing::Values(StoredCase{DType::kQ4_K, DType::kQ4_1, 160.0 / 144, 4e-4},
                      StoredCase{DType::kQ5_0, DType::kQ8_0, 34.0 / 22, 0},
                      StoredCase{DType::kQ3_0, DType::kQ4_0, 18.0 / 14, 0},
                      StoredCase{DType::kQ2_0, DType::kQ4_0, 18.0 / 10, 0},
                      StoredCase{DType::kQ5_1, DType::kQ8_0, 34.0 / 24, 6e-3},
                      StoredCase{DType::kQ5_K, DType::kQ8_0, 272.0 / 176, 6e-3},
                      StoredCase{DType::kQ6_K, DType::kQ8_0, 272.0 / 210, 1e-2}),
    [](const auto& info) { return std::string(name_of(info.param.stored)); });

/// The kernels see Q4_K's numbers: products as with the stored matrix widened, up to the error of
/// int8 activations.
TEST(StoredQ4K, MultipliesAsStored) {
  ThreadPool pool(2);
  const StoredMatrix stored(DType::kQ4_K, 50, 768);
  const std::vector<float> w = stored.floats();
  const std::vector<float> x = random_floats(3 * 768, 4);
  const std::vector<float> y = product(x, 3, pack(stored.source(), DType::kQ4_1, pool), pool);
  const std::vector<float> exact =
      product(x, 3, pack(rows_of(w.data(), 50, 768), DType::kF32, pool), pool);
  EXPECT_LT(relative_error(y, exact), 8e-3);
}

TEST(StoredQ4K, SaysWhichScaleDoesNotFit) {
  ThreadPool pool(1);
  StoredMatrix stored(DType::kQ4_K, 16, 256);
  const std::uint16_t infinity = 0x7c00;
  std::memcpy(stored.bytes.data(), &infinity, 2);
  EXPECT_TALPA_ERROR(pack(stored.source(), DType::kQ4_1, pool), kUnsupported, "16 bits");
}

TEST(PanelMemoryTest, PutsSmallPiecesTogetherAndLargeOnesApart) {
  kernel::PanelMemory memory;
  const auto a = memory.allocate(100), b = memory.allocate(64);
  EXPECT_EQ(b.get() - a.get(), 128);
  const auto large = memory.allocate(kernel::PanelMemory::kBlockBytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.get()) % (2u << 20), 0u);
  const auto c = memory.allocate(1);
  EXPECT_EQ(c.get() - a.get(), 192);
  std::shared_ptr<std::byte> last;
  for (int i = 0; i < 5; ++i) {
    last = memory.allocate(kernel::PanelMemory::kBlockBytes / 3);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(last.get()) % 64, 0u);
    std::memset(last.get(), i, kernel::PanelMemory::kBlockBytes / 3);
  }
  EXPECT_EQ(std::to_integer<int>(last.get()[0]), 4);
}

/// What was packed stays when its memory's owner and the matrices around it are gone.
TEST(PanelMemoryTest, LivesAsLongAsAnyMatrixInIt) {
  ThreadPool pool(2);
  const std::vector<float> w = random_floats(40 * 64, 6);
  PackedMatrix kept;
  {
    kernel::PanelMemory memory;
    const PackedMatrix before = pack(rows_of(w.data(), 40, 64), DType::kF32, pool, &memory);
    kept = pack(rows_of(w.data(), 40, 64), DType::kF32, pool, &memory);
    const PackedMatrix after = pack(rows_of(w.data(), 40, 64), DType::kF32, pool, &memory);
  }
  EXPECT_EQ(rows_as_floats(kept), w);
}

}  // namespace
}  // namespace talpa::testing
