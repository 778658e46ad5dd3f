// Sums of outer products on every instruction set beside sums in double.
#include <gtest/gtest.h>

#include "kernel/kernel_cases.h"
#include "talpa/kernel/panel_pack.h"

namespace talpa {
namespace {

using kernel::kPanelRows;
using testing::random_floats;

struct OuterCase {
  std::int64_t terms, height, width;
};

class OuterProducts {
 public:
  explicit OuterProducts(const OuterCase& c)
      : case_(c),
        x_(random_floats(2 * c.terms * c.height, 1)),
        w_(random_floats(c.terms * c.width, 2)),
        y_(random_floats(c.height * c.width, 3)) {
    for (std::int64_t k = 0; k < c.terms; ++k)
      row_.push_back(static_cast<std::int32_t>(2 * c.terms - 1 - 2 * k));
  }

  std::vector<float> by(kernel::PanelFunction function, bool accumulate) const {
    const int panels = static_cast<int>((case_.width + kPanelRows - 1) / kPanelRows);
    std::vector<float> packed(static_cast<std::size_t>(panels * case_.terms * kPanelRows));
    for (int p = 0; p < panels; ++p)
      kernel::pack_panel_of_columns(
          w_.data() + p * kPanelRows, case_.width, nullptr, case_.terms,
          static_cast<int>(std::min<std::int64_t>(kPanelRows, case_.width - p * kPanelRows)),
          packed.data() + p * case_.terms * kPanelRows);
    std::vector<float> y = y_;
    kernel::PanelTask task;
    task.x = x_.data();
    task.x_stride = case_.height;
    task.row_index = row_.data();
    task.rows = static_cast<int>(case_.height);
    task.columns = case_.terms;
    task.panels = reinterpret_cast<const std::byte*>(packed.data());
    task.panel_bytes = case_.terms * kPanelRows * 4;
    task.num_panels = panels;
    task.y = y.data();
    task.y_stride = task.width = case_.width;
    task.accumulate = accumulate;
    function(task);
    return y;
  }

  std::vector<float> expected(bool accumulate) const {
    std::vector<float> y = y_;
    for (std::int64_t i = 0; i < case_.height; ++i)
      for (std::int64_t j = 0; j < case_.width; ++j) {
        double sum = accumulate ? y[i * case_.width + j] : 0;
        for (std::int64_t k = 0; k < case_.terms; ++k)
          sum += double{x_[row_[k] * case_.height + i]} * w_[k * case_.width + j];
        y[i * case_.width + j] = static_cast<float>(sum);
      }
    return y;
  }

 private:
  OuterCase case_;
  std::vector<float> x_, w_, y_;
  std::vector<std::int32_t> row_;
};

TEST(OuterTest, SumsAsInDouble) {
  for (const auto& impl : kernel::matmul_implementations()) {
    if (!impl.available() || impl.functions.outer_f32 == nullptr) continue;
    for (const OuterCase& c :
         {OuterCase{1, 1, 1}, {3, 7, 16}, {40, 6, 64}, {17, 13, 70}, {700, 25, 33}})
      for (const bool accumulate : {false, true}) {
        const OuterProducts products(c);
        EXPECT_LT(testing::largest_difference(products.by(impl.functions.outer_f32, accumulate),
                                              products.expected(accumulate)),
                  2e-5 * std::sqrt(c.terms))
            << impl.name << ": " << c.terms << " of " << c.height << " x " << c.width;
      }
  }
}

TEST(PanelPackTest, RowsAndColumnsArriveWithZerosBeside) {
  for (const int rows : {1, 5, 16})
    for (const std::int64_t columns : {1, 4, 7, 33}) {
      const std::vector<float> w = random_floats(rows * columns, 4);
      std::vector<float> by_rows(static_cast<std::size_t>(columns * kPanelRows), NAN);
      kernel::pack_panel_of_rows(w.data(), columns, rows, columns, by_rows.data());
      for (std::int64_t k = 0; k < columns; ++k)
        for (int c = 0; c < kPanelRows; ++c)
          EXPECT_EQ(by_rows[k * kPanelRows + c], c < rows ? w[c * columns + k] : 0);
    }
}

}  // namespace
}  // namespace talpa
