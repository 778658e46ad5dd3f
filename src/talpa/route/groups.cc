#include "talpa/route/groups.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa {

GroupPlan group_rows(const DispatchPlan& plan, int group_size) {
  if (group_size < 1 || plan.num_experts % group_size != 0)
    fail(ErrorCode::kConfig, "group_rows: groups of {} do not divide {} experts", group_size,
         plan.num_experts);
  GroupPlan groups;
  groups.group_size = group_size;
  groups.offsets.push_back(0);
  groups.row.reserve(plan.row.size());
  groups.member.resize(plan.row.size());
  std::vector<std::int32_t> last_group(plan.num_rows, -1), group_row(plan.num_rows);
  for (int g = 0; g < plan.num_experts / group_size; ++g) {
    const int first = plan.offsets[g * group_size], last = plan.offsets[(g + 1) * group_size];
    const std::size_t begin = groups.row.size();
    for (int s = first; s < last; ++s) {
      if (last_group[plan.row[s]] == g) continue;
      last_group[plan.row[s]] = g;
      groups.row.push_back(plan.row[s]);
    }
    std::sort(groups.row.begin() + begin, groups.row.end());
    for (std::size_t i = begin; i < groups.row.size(); ++i)
      group_row[groups.row[i]] = static_cast<std::int32_t>(i);
    for (int s = first; s < last; ++s) groups.member[s] = group_row[plan.row[s]];
    groups.offsets.push_back(static_cast<std::int32_t>(groups.row.size()));
  }
  return groups;
}

}  // namespace talpa
