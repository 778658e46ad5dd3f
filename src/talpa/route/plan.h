#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "talpa/base/config.h"

namespace talpa {

/// Scores from logits, before selection.
enum class RouterScore : std::uint8_t { kSoftmax, kSigmoid };
template <>
struct EnumNames<RouterScore> {
  static constexpr std::pair<RouterScore, const char*> table[] = {
      {RouterScore::kSoftmax, "softmax"}, {RouterScore::kSigmoid, "sigmoid"}};
};

struct RouteOptions {
  int num_experts = 0;
  int top_k = 2;
  RouterScore score = RouterScore::kSoftmax;
  bool normalize = true;  ///< the chosen weights sum to one
  double scale = 1;       ///< factor on the weights
  /// [num_experts], or empty: added to scores when experts are chosen, never to their weights.
  std::span<const float> selection_bias = {};
};

/// Where rows go: compact by expert. Slot s in [offsets[e], offsets[e+1]) is one (row, expert)
/// pair of expert e; rows of an expert ascend. T rows, N experts, S = T * top_k slots.
struct DispatchPlan {
  int num_rows = 0;
  int num_experts = 0;
  int top_k = 0;
  std::vector<std::int32_t> offsets;  ///< [N + 1]
  std::vector<std::int32_t> row;      ///< [S] row of each slot
  std::vector<float> weight;          ///< [S] combine weight of each slot
  std::vector<std::int32_t> slot;     ///< [T, top_k] slot of a row's j-th choice
  std::vector<std::int32_t> expert;   ///< [T, top_k] expert of a row's j-th choice, best first

  int num_slots() const { return static_cast<int>(row.size()); }
  int count(int e) const { return offsets[e + 1] - offsets[e]; }
};

/// Routes rows of logits [T, N]: softmax or sigmoid in fp32 over all experts, the top_k highest
/// (ties to the lowest expert id), weights renormalised if asked. With a selection bias the top_k
/// highest of score + bias are chosen. Throws kShape if logits are not whole rows or the bias has
/// another size, kConfig if top_k exceeds num_experts; a row with a NaN throws kFormat.
DispatchPlan route(std::span<const float> logits_TN, const RouteOptions& options);

/// Largest load relative to the mean, smallest likewise, entropy of the load relative to
/// uniform, and the experts with no row.
struct LoadStatistics {
  double max_over_mean = 0;
  double min_over_mean = 0;
  double relative_entropy = 1;
  int num_unused = 0;
};
LoadStatistics load_statistics(std::span<const std::int64_t> rows_per_expert);

}  // namespace talpa
