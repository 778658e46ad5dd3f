#pragma once

#include <cstdint>
#include <vector>

#include "talpa/route/plan.h"

namespace talpa {

/// The distinct rows that each group of consecutive experts sees: what is computed once a group
/// (a latent) is computed once for each of them, not once for each expert. G groups of k
/// experts, R group rows (R <= S).
struct GroupPlan {
  int group_size = 1;
  std::vector<std::int32_t> offsets;  ///< [G + 1] group rows of each group
  std::vector<std::int32_t> row;      ///< [R] row of each group row; ascends within a group
  std::vector<std::int32_t> member;   ///< [S] group row of each slot of the plan

  int num_groups() const { return static_cast<int>(offsets.size()) - 1; }
  int num_group_rows() const { return static_cast<int>(row.size()); }
};

/// Throws kConfig if the group size does not divide the plan's experts.
GroupPlan group_rows(const DispatchPlan& plan, int group_size);

}  // namespace talpa
