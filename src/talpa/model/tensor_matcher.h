#pragma once

#include <map>
#include <string>
#include <vector>

#include "talpa/model/weights.h"

namespace talpa {

/// Hands out stored tensors and keeps the account: every element of every stored tensor goes to
/// exactly one weight.
class TensorMatcher {
 public:
  explicit TensorMatcher(const TensorStore& store) : store_(store) {}

  bool has(const std::string& name) const { return store_.find(name) != nullptr; }
  /// Appends all of `name`, which must have this shape (dimensions of one in front do not
  /// matter), or notes that it is missing.
  void take(Weight& weight, const std::string& name, const Shape& shape);
  /// `name` of this shape cut into rows of `columns`, in the order row_of(0), row_of(1), ...
  template <class RowOf>
  void take_rows(Weight& weight, const std::string& name, const Shape& shape, std::int64_t columns,
                 RowOf&& row_of);
  /// Rows [first, first + count) of `name`, a stack of this shape seen as a matrix.
  void take_range(Weight& weight, const std::string& name, const Shape& shape, std::int64_t first,
                  std::int64_t count);
  /// `name` carries nothing that the model needs.
  void ignore(const std::string& name) { taken_[name] = -1; }

  /// Throws kFormat naming what is missing or left over.
  void finish() const;

 private:
  const TensorView* checked(const std::string& name, const Shape& shape);
  void append(Weight& weight, const TensorView& view, std::int64_t columns, std::int64_t first,
              std::int64_t count);

  const TensorStore& store_;
  std::map<std::string, std::int64_t> taken_;  ///< elements handed out
  std::vector<std::string> missing_;           ///< the first few
  std::int64_t num_missing_ = 0;
};

template <class RowOf>
void TensorMatcher::take_rows(Weight& weight, const std::string& name, const Shape& shape,
                              std::int64_t columns, RowOf&& row_of) {
  const TensorView* view = checked(name, shape);
  if (!view) return;
  const std::int64_t rows = num_elements(shape) / columns;
  weight.pieces.reserve(weight.pieces.size() + static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) append(weight, *view, columns, row_of(row), 1);
  taken_[name] += rows * columns;
}

}  // namespace talpa
