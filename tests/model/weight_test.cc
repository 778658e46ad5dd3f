#include <gtest/gtest.h>

#include <numeric>

#include "model/checkpoint.h"

namespace talpa {
namespace {

/// A [4, 3, 2] weight of floats 0, 1, 2, ... in pieces of 1, 5 and 6 rows.
class WeightTest : public ::testing::Test {
 protected:
  WeightTest() : values_(24) {
    std::iota(values_.begin(), values_.end(), 0.0f);
    weight_.shape = {4, 3, 2};
    std::size_t row = 0;
    for (const std::size_t rows : {1, 5, 6}) {
      const auto bytes = std::as_bytes(std::span(values_).subspan(2 * row, 2 * rows));
      weight_.pieces.push_back({"piece", DType::kF32, {static_cast<std::int64_t>(rows), 2}, bytes});
      row += rows;
    }
  }

  std::vector<float> values_;
  Weight weight_;
};

TEST_F(WeightTest, ReadsAllPieces) {
  EXPECT_EQ(talpa::testing::floats(weight_), values_);
  EXPECT_EQ(weight_.bytes(), 24 * sizeof(float));
}

TEST_F(WeightTest, ReadsEveryRangeOfRows) {
  for (int first = 0; first < 12; ++first)
    for (int count = 0; first + count <= 12; ++count) {
      std::vector<float> rows(2 * static_cast<std::size_t>(count));
      weight_.read_rows(first, count, reinterpret_cast<std::byte*>(rows.data()));
      const auto begin = values_.begin() + 2 * first;
      EXPECT_TRUE(std::equal(rows.begin(), rows.end(), begin)) << first << " " << count;
    }
  std::vector<std::byte> room(16);
  EXPECT_TALPA_ERROR(weight_.read_rows(11, 2, room.data()), kInternal, "past the end");
}

TEST_F(WeightTest, SlicesAcrossPieces) {
  for (int index = 0; index < 4; ++index) {
    const Weight expert = weight_.slice(index);
    EXPECT_EQ(expert.shape, (Shape{3, 2}));
    const auto begin = values_.begin() + 6 * index;
    EXPECT_EQ(talpa::testing::floats(expert), std::vector<float>(begin, begin + 6));
  }
  EXPECT_EQ(talpa::testing::floats(weight_.slice(2).slice(1)), (std::vector<float>{14, 15}));
  EXPECT_TALPA_ERROR(weight_.slice(4), kInternal, "slice 4");
}

}  // namespace
}  // namespace talpa
