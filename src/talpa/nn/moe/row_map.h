#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace talpa::nn {

/// S targets, each of which takes one of `num_sources` rows: target s takes row index[s]. The
/// inverse lists the targets of each source, so that sums run in a fixed order.
struct RowMap {
  std::int64_t num_sources = 0;
  bool identity = false;    ///< target s takes row s, and there are no others
  at::Tensor index;         ///< [S] int32
  at::Tensor inverse;       ///< [S] int64, targets by source, ascending
  at::Tensor inverse_ends;  ///< [num_sources + 1] int64, where each source's targets begin

  RowMap() = default;
  /// Indices in [0, num_sources).
  RowMap(std::span<const std::int32_t> index_S, std::int64_t num_sources);
  std::int64_t num_targets() const { return index.size(0); }
};

/// Targets [first, last).
struct RowRange {
  std::int64_t first, last;
  at::Tensor of(const at::Tensor& x) const { return x.narrow(0, first, last - first); }
};

/// body(e, range) for every range [offsets[e], offsets[e + 1]) that is not empty.
template <class Body>
void for_each_range(std::span<const std::int64_t> offsets, Body&& body) {
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e)
    if (offsets[e] < offsets[e + 1])
      body(static_cast<std::int64_t>(e), RowRange{offsets[e], offsets[e + 1]});
}

/// Without autograd: the rows of x that a range of targets takes (a view where the map is the
/// identity), and y [targets, w] added to the rows of `sum` that they take, in their order.
at::Tensor rows_of(const at::Tensor& x, const RowMap& map, RowRange range);
void add_rows(at::Tensor& sum, const at::Tensor& y, const RowMap& map, RowRange range);

/// Rows of x [num_sources, w] -> [S, w]. Its gradient is sum_rows.
at::Tensor gather_rows(const at::Tensor& x, const RowMap& map);
/// Targets y [S, w] summed into their sources -> [num_sources, w]. Its gradient is gather_rows.
at::Tensor sum_rows(const at::Tensor& y_SW, const RowMap& map);

}  // namespace talpa::nn
