#pragma once

#include <cstdint>
#include <vector>

#include "talpa/format/dtype.h"

namespace talpa::search {

/// One way to hold a matrix (or a stack of them).
struct Choice {
  DType type = DType::kF16;
  std::int64_t bytes = 0;
  double cost = 0;  ///< what the whole loses by it; costs add up
};

/// Picks one choice an item so that the bytes stay within `budget` and the costs are small: the
/// best point of the convex hull (Lagrangian relaxation), then single upgrades that still fit, by
/// cost saved a byte. Index of the choice of each item. Throws kConfig if the smallest do not fit.
std::vector<std::size_t> allocate(const std::vector<std::vector<Choice>>& items,
                                  std::int64_t budget);

}  // namespace talpa::search
