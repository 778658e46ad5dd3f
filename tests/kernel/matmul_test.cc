#include "talpa/kernel/matmul.h"

#include <gtest/gtest.h>

#include "kernel/kernel_cases.h"
#include "scratch.h"

namespace talpa::testing {
namespace {

struct MatmulCase {
  std::string implementation;
  DType dtype;
};

std::vector<MatmulCase> cases() {
  std::vector<MatmulCase> all;
  for (const auto& impl : kernel::matmul_implementations())
    for (const DType dtype : kHeldTypes)
      if (impl.function(dtype) != nullptr) all.push_back({impl.name, dtype});
  return all;
}

std::string case_name(const ::testing::TestParamInfo<MatmulCase>& info) {
  return info.param.implementation + "_" + name_of(info.param.dtype);
}

class MatmulTest : public ::testing::TestWithParam<MatmulCase> {
 protected:
  void SetUp() override {
    for (const auto& impl : kernel::matmul_implementations())
      if (impl.name == GetParam().implementation && !impl.available())
        GTEST_SKIP() << "this machine lacks " << impl.name;
  }
  PackedMatrix weight(const MatmulShape& s) {
    const std::vector<float> w = random_floats(s.out * s.in, 7);
    return pack(rows_of(w.data(), s.out, s.in), GetParam().dtype, pool_);
  }
  bool rounds_to_bf16() const {
    for (const auto& impl : kernel::matmul_implementations())
      if (impl.name == GetParam().implementation)
        return impl.bf16_activations && GetParam().dtype == DType::kBF16;
    return false;
  }
  ThreadPool pool_{2};
};

/// The arithmetic is the same, only the order of additions differs.
TEST_P(MatmulTest, EqualsReference) {
  if (GetParam().implementation == "float_activations") GTEST_SKIP() << "other arithmetic";
  for (const MatmulShape& s : kMatmulShapes) {
    const PackedMatrix w = weight(s);
    std::vector<float> x = random_floats(s.rows * s.in, 3);
    if (rounds_to_bf16())
      for (float& v : x) v = bf16_to_float(float_to_bf16(v));
    std::vector<float> expected, actual;
    {
      const WithMatmul reference("reference");
      expected = product(x, s.rows, w, pool_);
    }
    const WithMatmul chosen(GetParam().implementation);
    actual = product(x, s.rows, w, pool_);
    EXPECT_LT(largest_difference(actual, expected), 2e-6 * std::sqrt(s.in) * 8)
        << s.rows << " x " << s.out << " x " << s.in;
  }
}

/// Against the product in double of the weights as held: exact up to rounding for float types,
/// within the error of int8 activations for blocks.
TEST_P(MatmulTest, MultipliesTheWeightsAsHeld) {
  const bool int8 =
      is_quantised(GetParam().dtype) && GetParam().implementation != "float_activations";
  const double error = int8 ? 0.05 : rounds_to_bf16() ? 0.01 : 2e-5;
  const WithMatmul chosen(GetParam().implementation);
  for (const MatmulShape& s : kMatmulShapes) {
    const PackedMatrix w = weight(s);
    const std::vector<float> x = random_floats(s.rows * s.in, 5);
    const std::vector<float> y = product(x, s.rows, w, pool_);
    std::vector<float> expected(y.size()), row(static_cast<std::size_t>(s.in));
    for (std::int64_t n = 0; n < s.out; ++n) {
      w.read_row(n, row.data());
      for (int r = 0; r < s.rows; ++r) {
        double sum = 0;
        for (std::int64_t k = 0; k < s.in; ++k) sum += double{x[r * s.in + k]} * row[k];
        expected[r * s.out + n] = static_cast<float>(sum);
      }
    }
    EXPECT_LT(largest_difference(y, expected), error * std::sqrt(s.in));
  }
}

/// A row's result is the same bits alone, among others, and on one thread or three.
TEST_P(MatmulTest, RowsDoNotDependOnTheirCompany) {
  const WithMatmul chosen(GetParam().implementation);
  ThreadPool one(1), three(3);
  const MatmulShape s{29, 150, 288};
  const PackedMatrix w = weight(s);
  const std::vector<float> x = random_floats(s.rows * s.in, 9);
  const std::vector<float> together = product(x, s.rows, w, three);
  EXPECT_EQ(together, product(x, s.rows, w, one));
  for (int first = 0, count = 1; first + count <= s.rows; first += count++) {
    const std::vector<float> part(x.begin() + first * s.in, x.begin() + (first + count) * s.in);
    const std::vector<float> y = product(part, count, w, three);
    EXPECT_TRUE(std::equal(y.begin(), y.end(), together.begin() + first * s.out)) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatmulTest, ::testing::ValuesIn(cases()), case_name);

/// Columns as whole blocks of stored quants pack to the same numbers as the format's own reader.
TEST(PackedMatrixTest, HoldsStoredBlocksWithoutLoss) {
  ThreadPool pool(2);
  const std::int64_t rows = 21, columns = 96;
  const std::vector<float> w = random_floats(rows * columns, 1);
  for (const DType dtype : kHeldTypes) {
    std::vector<std::byte> stored(bytes_of(dtype, rows * columns));
    from_float(dtype, w.data(), stored.data(), rows * columns);
    const std::uint64_t row_bytes = stored.size() / rows;
    const RowSource source{rows, columns, dtype, [&](auto first, auto count, std::byte* target) {
                             std::copy_n(stored.data() + first * row_bytes, count * row_bytes,
                                         target);
                           }};
    const PackedMatrix packed = pack(source, dtype, pool);
    std::vector<float> expected(w.size()), actual(w.size());
    to_float(dtype, stored.data(), expected.data(), rows * columns);
    for (std::int64_t r = 0; r < rows; ++r) packed.read_row(r, actual.data() + r * columns);
    EXPECT_EQ(actual, expected) << name_of(dtype);
  }
}

TEST(PackedMatrixTest, StacksMatricesInOrder) {
  ThreadPool pool(2);
  const std::vector<float> w = random_floats(3 * 20 * 8, 2);
  const auto stack = pack_stack(rows_of(w.data(), 60, 8), 3, DType::kF32, pool);
  ASSERT_EQ(stack.size(), 3u);
  std::vector<float> row(8);
  stack[2].read_row(19, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), w.begin() + 59 * 8));
  EXPECT_TALPA_ERROR(pack_stack(rows_of(w.data(), 60, 8), 7, DType::kF32, pool), kShape, "60 rows");
}

TEST(PackedMatrixTest, ChoosesTypes) {
  EXPECT_EQ(held_type(DType::kQ4_K), DType::kQ4_1);
  EXPECT_EQ(held_type(DType::kQ6_K), DType::kQ8_0);
  EXPECT_EQ(held_type(DType::kF16), DType::kF16);
  EXPECT_EQ(held_type(DType::kF64), DType::kF32);
  EXPECT_EQ(held_type(DType::kBF16, DType::kQ4_1), DType::kQ4_1);
  EXPECT_TALPA_ERROR(held_type(DType::kF32, DType::kQ6_K), kUnsupported, "q6_k");
  EXPECT_TALPA_ERROR(held_type(DType::kI32), kUnsupported, "i32");
}

TEST(MatmulErrors, NameTheSizes) {
  ThreadPool pool(1);
  const std::vector<float> w(64, 1.0f), x(7, 1.0f);
  const PackedMatrix packed = pack(rows_of(w.data(), 8, 8), DType::kF32, pool);
  Activations activations;
  activations.set(x.data(), 1, 7);
  float y[8];
  EXPECT_TALPA_ERROR(matmul(activations, packed, y, pool), kShape, "8 columns");
}

TEST(ImplementationChoiceTest, ParsesAndRefuses) {
  EXPECT_EQ(kernel::parse_implementation_choice("matmul:reference,rows:reference").rows,
            "reference");
  EXPECT_TRUE(kernel::parse_implementation_choice("").matmul.empty());
  EXPECT_TALPA_ERROR(kernel::parse_implementation_choice("matmul:turbo"), kConfig, "reference");
  EXPECT_TALPA_ERROR(kernel::parse_implementation_choice("fft:avx2"), kConfig, "fft:avx2");
}

}  // namespace
}  // namespace talpa::testing
