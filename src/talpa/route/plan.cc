// T rows, N experts, K choices a row, S = T * K slots.
#include "talpa/route/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "talpa/base/error.h"

namespace talpa {
namespace {

constexpr std::int64_t kMaxSlots = std::numeric_limits<std::int32_t>::max();

void check(std::size_t num_logits, const RouteOptions& options) {
  if (options.num_experts < 1)
    fail(ErrorCode::kConfig, "route: num_experts = {}, expected at least 1", options.num_experts);
  if (options.top_k < 1 || options.top_k > options.num_experts)
    fail(ErrorCode::kConfig, "route: top_k = {}, expected 1 to num_experts = {}", options.top_k,
         options.num_experts);
  const auto num_experts = static_cast<std::size_t>(options.num_experts);
  if (num_logits % num_experts != 0)
    fail(ErrorCode::kShape, "route: {} logits are not whole rows of {} experts", num_logits,
         num_experts);
  if (!options.selection_bias.empty() && options.selection_bias.size() != num_experts)
    fail(ErrorCode::kShape, "route: a selection bias of {} values for {} experts",
         options.selection_bias.size(), num_experts);
  if (static_cast<std::int64_t>(num_logits / num_experts) > kMaxSlots / options.top_k)
    fail(ErrorCode::kShape, "route: {} rows of {} choices exceed {} slots",
         num_logits / num_experts, options.top_k, kMaxSlots);
}

// Largest logit of a row. -inf is a masked expert and is never chosen before a finite one.
float checked_maximum(std::span<const float> logits_N, int row) {
  float maximum = -std::numeric_limits<float>::infinity();
  bool has_nan = false;
  for (float logit : logits_N) {
    has_nan |= std::isnan(logit);
    maximum = std::max(maximum, logit);
  }
  if (has_nan || !std::isfinite(maximum))
    fail(ErrorCode::kFormat, "route: row {} of the router's logits is not finite ({})", row,
         has_nan       ? "NaN"
         : maximum > 0 ? "+inf"
                       : "every logit is -inf");
  return maximum;
}

// The K experts of highest value, best first: of logits where nothing is added to scores, which
// grow with them. A strict comparison in ascending order of experts leaves ties to the lowest id.
void choose(std::span<const float> value_N, std::span<std::int32_t> expert_K) {
  const std::size_t top_k = expert_K.size();
  std::size_t chosen = 0;
  for (std::size_t e = 0; e < value_N.size(); ++e) {
    if (chosen == top_k && !(value_N[e] > value_N[expert_K[top_k - 1]])) continue;
    std::size_t at = chosen < top_k ? chosen++ : top_k - 1;
    for (; at > 0 && value_N[e] > value_N[expert_K[at - 1]]; --at) expert_K[at] = expert_K[at - 1];
    expert_K[at] = static_cast<std::int32_t>(e);
  }
}

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

// Scores of one row's logits.
struct Scores {
  std::span<const float> logits_N;
  float maximum;
  RouterScore kind;
  float denominator = 1;

  Scores(std::span<const float> logits, float largest, RouterScore score)
      : logits_N(logits), maximum(largest), kind(score) {
    if (kind != RouterScore::kSoftmax) return;
    denominator = 0;
    for (float logit : logits_N) denominator += std::exp(logit - maximum);
  }
  float of(std::size_t e) const {
    return kind == RouterScore::kSoftmax ? std::exp(logits_N[e] - maximum) / denominator
                                         : sigmoid(logits_N[e]);
  }
};

// Combine weights of the chosen experts of one row.
void weigh(const Scores& scores, std::span<const std::int32_t> expert_K,
           const RouteOptions& options, std::span<float> weight_K) {
  float sum = 0;
  for (std::size_t j = 0; j < expert_K.size(); ++j) sum += weight_K[j] = scores.of(expert_K[j]);
  for (float& weight : weight_K) {
    if (options.normalize)
      weight = sum > 0 ? weight / sum : 1.0F / static_cast<float>(expert_K.size());
    weight *= static_cast<float>(options.scale);
  }
}

// Counting sort of the choices by expert; rows are visited in order, so they ascend.
void sort_by_expert(DispatchPlan& plan, const std::vector<float>& weight_TK) {
  plan.offsets.assign(plan.num_experts + 1, 0);
  for (std::int32_t e : plan.expert) ++plan.offsets[e + 1];
  for (int e = 0; e < plan.num_experts; ++e) plan.offsets[e + 1] += plan.offsets[e];
  std::vector<std::int32_t> next(plan.offsets.begin(), plan.offsets.end() - 1);
  plan.row.resize(plan.expert.size());
  plan.weight.resize(plan.expert.size());
  plan.slot.resize(plan.expert.size());
  for (std::size_t choice = 0; choice < plan.expert.size(); ++choice) {
    const std::int32_t slot = next[plan.expert[choice]]++;
    plan.row[slot] = static_cast<std::int32_t>(choice / plan.top_k);
    plan.weight[slot] = weight_TK[choice];
    plan.slot[choice] = slot;
  }
}

}  // namespace

DispatchPlan route(std::span<const float> logits_TN, const RouteOptions& options) {
  check(logits_TN.size(), options);
  const std::size_t num_experts = options.num_experts, top_k = options.top_k;
  DispatchPlan plan;
  plan.num_rows = static_cast<int>(logits_TN.size() / num_experts);
  plan.num_experts = options.num_experts;
  plan.top_k = options.top_k;
  plan.expert.resize(plan.num_rows * top_k);
  std::vector<float> weight_TK(plan.expert.size()), biased_N(options.selection_bias.size());
  for (int t = 0; t < plan.num_rows; ++t) {
    const auto logits_N = logits_TN.subspan(t * num_experts, num_experts);
    const std::span expert_K(plan.expert.data() + t * top_k, top_k);
    const Scores scores(logits_N, checked_maximum(logits_N, t), options.score);
    for (std::size_t e = 0; e < biased_N.size(); ++e)
      biased_N[e] =
          std::isinf(logits_N[e]) ? logits_N[e] : scores.of(e) + options.selection_bias[e];
    choose(biased_N.empty() ? logits_N : biased_N, expert_K);
    weigh(scores, expert_K, options, {weight_TK.data() + t * top_k, top_k});
  }
  sort_by_expert(plan, weight_TK);
  return plan;
}

LoadStatistics load_statistics(std::span<const std::int64_t> rows_per_expert) {
  LoadStatistics result;
  std::int64_t total = 0;
  for (std::int64_t rows : rows_per_expert) {
    if (rows < 0) fail(ErrorCode::kShape, "load_statistics: an expert has {} rows", rows);
    total += rows;
    result.num_unused += rows == 0;
  }
  if (total == 0) return result;
  const double num_experts = static_cast<double>(rows_per_expert.size());
  const double mean = static_cast<double>(total) / num_experts;
  const auto [least, most] = std::ranges::minmax(rows_per_expert);
  result.min_over_mean = static_cast<double>(least) / mean;
  result.max_over_mean = static_cast<double>(most) / mean;
  double entropy = 0;
  for (std::int64_t rows : rows_per_expert) {
    const double share = static_cast<double>(rows) / static_cast<double>(total);
    if (rows > 0) entropy -= share * std::log(share);
  }
  if (rows_per_expert.size() > 1) result.relative_entropy = entropy / std::log(num_experts);
  return result;
}

}  // namespace talpa
