#include "talpa/route/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/route/groups.h"

namespace talpa {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Problem {
  int num_rows;
  RouteOptions options;
  bool coarse = false;  // few distinct logits, so that ties abound
};

std::vector<float> random_logits(const Problem& problem, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> logits(static_cast<std::size_t>(problem.num_rows) *
                            problem.options.num_experts);
  for (float& logit : logits)
    logit = problem.coarse ? static_cast<float>(random.below(3))
                           : 3 * static_cast<float>(random.normal());
  return logits;
}

// Scores of a row from the definition, in double.
std::vector<double> scores_of(std::span<const float> logits, RouterScore score) {
  std::vector<double> scores;
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit));
  for (float logit : logits) {
    const double z = logit;
    scores.push_back(score == RouterScore::kSoftmax ? std::exp(z) / sum : 1 / (1 + std::exp(-z)));
  }
  return scores;
}

class Route : public ::testing::TestWithParam<Problem> {
 protected:
  const RouteOptions& options() const { return GetParam().options; }
  std::span<const float> row(const std::vector<float>& logits, int t) const {
    return std::span(logits).subspan(static_cast<std::size_t>(t) * options().num_experts,
                                     options().num_experts);
  }
};

TEST_P(Route, ChoosesTheHighestAndTheLowestIdOfTies) {
  const auto logits = random_logits(GetParam(), 1);
  const DispatchPlan plan = route(logits, options());
  for (int t = 0; t < plan.num_rows; ++t) {
    const auto row_logits = row(logits, t);
    std::vector<std::int32_t> order(options().num_experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return row_logits[a] > row_logits[b]; });
    order.resize(options().top_k);
    const auto first = plan.expert.begin() + static_cast<std::ptrdiff_t>(t) * options().top_k;
    EXPECT_EQ(order, std::vector(first, first + options().top_k)) << "row " << t;
  }
}

TEST_P(Route, PlanIsCompactByExpert) {
  const DispatchPlan plan = route(random_logits(GetParam(), 2), options());
  ASSERT_EQ(plan.offsets.size(), static_cast<std::size_t>(options().num_experts) + 1);
  EXPECT_EQ(plan.offsets.front(), 0);
  EXPECT_EQ(plan.offsets.back(), plan.num_slots());
  EXPECT_EQ(plan.num_slots(), GetParam().num_rows * options().top_k);
  for (int e = 0; e < plan.num_experts; ++e) {
    ASSERT_GE(plan.count(e), 0);
    for (int s = plan.offsets[e] + 1; s < plan.offsets[e + 1]; ++s)
      EXPECT_LT(plan.row[s - 1], plan.row[s]) << "expert " << e;
  }
}

TEST_P(Route, SlotsAreTheInverseOfRowsAndExperts) {
  const DispatchPlan plan = route(random_logits(GetParam(), 3), options());
  std::set<std::int32_t> seen;
  for (std::size_t choice = 0; choice < plan.slot.size(); ++choice) {
    const std::int32_t slot = plan.slot[choice], expert = plan.expert[choice];
    EXPECT_TRUE(seen.insert(slot).second);
    EXPECT_EQ(plan.row[slot], static_cast<std::int32_t>(choice) / plan.top_k);
    EXPECT_GE(slot, plan.offsets[expert]);
    EXPECT_LT(slot, plan.offsets[expert + 1]);
  }
}

TEST_P(Route, WeightsFollowTheDefinition) {
  const auto logits = random_logits(GetParam(), 4);
  const DispatchPlan plan = route(logits, options());
  for (int t = 0; t < plan.num_rows; ++t) {
    const auto scores = scores_of(row(logits, t), options().score);
    double sum = 0;
    for (int j = 0; j < plan.top_k; ++j) sum += scores[plan.expert[t * plan.top_k + j]];
    for (int j = 0; j < plan.top_k; ++j) {
      const double score = scores[plan.expert[t * plan.top_k + j]];
      const double expected = options().scale * (options().normalize ? score / sum : score);
      EXPECT_NEAR(plan.weight[plan.slot[t * plan.top_k + j]], expected, 1e-6 * options().scale);
    }
  }
}

TEST_P(Route, GroupsHoldEachRowOnce) {
  const DispatchPlan plan = route(random_logits(GetParam(), 5), options());
  for (int size = 1; size <= plan.num_experts; ++size) {
    if (plan.num_experts % size != 0) continue;
    const GroupPlan groups = group_rows(plan, size);
    ASSERT_EQ(groups.num_groups(), plan.num_experts / size);
    for (int g = 0; g < groups.num_groups(); ++g) {
      const auto first = groups.row.begin() + groups.offsets[g];
      const auto last = groups.row.begin() + groups.offsets[g + 1];
      EXPECT_TRUE(std::is_sorted(first, last, std::less_equal<>()));
      const std::set<std::int32_t> expected(plan.row.begin() + plan.offsets[g * size],
                                            plan.row.begin() + plan.offsets[(g + 1) * size]);
      EXPECT_EQ(std::set<std::int32_t>(first, last), expected);
      for (int s = plan.offsets[g * size]; s < plan.offsets[(g + 1) * size]; ++s) {
        EXPECT_EQ(groups.row[groups.member[s]], plan.row[s]);
        EXPECT_TRUE(groups.member[s] >= groups.offsets[g] &&
                    groups.member[s] < groups.offsets[g + 1]);
      }
    }
  }
}

const Problem kProblems[] = {
    {37, {.num_experts = 16, .top_k = 2}},
    {37, {.num_experts = 16, .top_k = 2}, true},
    {50, {.num_experts = 8, .top_k = 3, .normalize = false}, true},
    {21, {.num_experts = 12, .top_k = 4, .score = RouterScore::kSigmoid}},
    {21, {.num_experts = 12, .top_k = 4, .score = RouterScore::kSigmoid, .scale = 2.5}, true},
    {9, {.num_experts = 4, .top_k = 4}},
    {9, {.num_experts = 1, .top_k = 1}},
    {0, {.num_experts = 6, .top_k = 2}},
    {1, {.num_experts = 128, .top_k = 8}},
};
INSTANTIATE_TEST_SUITE_P(Problems, Route, ::testing::ValuesIn(kProblems));

TEST(RouteErrors, BadOptionsAndShapes) {
  const std::vector<float> logits(12);
  EXPECT_TALPA_ERROR(route(logits, {.num_experts = 4, .top_k = 5}), kConfig, "top_k = 5");
  EXPECT_TALPA_ERROR(route(logits, {.num_experts = 4, .top_k = 0}), kConfig, "top_k = 0");
  EXPECT_TALPA_ERROR(route(logits, {.num_experts = 0, .top_k = 1}), kConfig, "num_experts = 0");
  EXPECT_TALPA_ERROR(route(logits, {.num_experts = 5, .top_k = 2}), kShape, "12 logits");
  const DispatchPlan plan = route(logits, {.num_experts = 4, .top_k = 2});
  EXPECT_TALPA_ERROR(group_rows(plan, 3), kConfig, "groups of 3");
  EXPECT_TALPA_ERROR(group_rows(plan, 0), kConfig, "groups of 0");
}

TEST(RouteErrors, LogitsThatAreNotFinite) {
  const RouteOptions options{.num_experts = 3, .top_k = 2};
  const struct {
    std::vector<float> logits;
    const char* message;
  } cases[] = {{{0, 1, 2, 0, kNaN, 1}, "row 1"},
               {{kNaN, kNaN, kNaN}, "NaN"},
               {{0, kInfinity, 1}, "+inf"},
               {{-kInfinity, -kInfinity, -kInfinity}, "-inf"}};
  for (const auto& c : cases) EXPECT_TALPA_ERROR(route(c.logits, options), kFormat, c.message);
}

TEST(RouteExtremes, MaskedExpertsComeLastWithoutWeight) {
  const DispatchPlan plan =
      route(std::vector{-kInfinity, 100.0F, -kInfinity, -200.0F}, {.num_experts = 4, .top_k = 3});
  EXPECT_EQ(plan.expert, (std::vector<std::int32_t>{1, 3, 0}));
  EXPECT_EQ(plan.weight[plan.slot[0]], 1);
  EXPECT_EQ(plan.weight[plan.slot[2]], 0);
}

TEST(RouteExtremes, SigmoidsThatVanishShareEqually) {
  const DispatchPlan plan = route(std::vector{-500.0F, -400.0F, -300.0F},
                                  {.num_experts = 3, .top_k = 2, .score = RouterScore::kSigmoid});
  EXPECT_EQ(plan.expert, (std::vector<std::int32_t>{2, 1}));
  for (float weight : plan.weight) EXPECT_EQ(weight, 0.5F);
}

TEST(LoadStatistics, Formulas) {
  const auto uneven = load_statistics(std::vector<std::int64_t>{6, 0, 2, 0});
  EXPECT_DOUBLE_EQ(uneven.max_over_mean, 3);
  EXPECT_DOUBLE_EQ(uneven.min_over_mean, 0);
  EXPECT_EQ(uneven.num_unused, 2);
  const double entropy = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  EXPECT_DOUBLE_EQ(uneven.relative_entropy, entropy / std::log(4.0));
  const auto even = load_statistics(std::vector<std::int64_t>{5, 5, 5});
  EXPECT_DOUBLE_EQ(even.max_over_mean, 1);
  EXPECT_NEAR(even.relative_entropy, 1, 1e-15);
  const auto idle = load_statistics(std::vector<std::int64_t>{0, 0});
  EXPECT_EQ(idle.num_unused, 2);
  EXPECT_DOUBLE_EQ(idle.max_over_mean, 0);
  EXPECT_DOUBLE_EQ(load_statistics(std::vector<std::int64_t>{4}).relative_entropy, 1);
  EXPECT_TALPA_ERROR(load_statistics(std::vector<std::int64_t>{4, -1}), kShape, "-1 rows");
}

TEST(Route, ASelectionBiasDecidesAndDoesNotWeigh) {
  const std::vector<float> logits{2, 1, 0, 0, 1, 2}, bias{0, -1, 0.5F};
  const DispatchPlan plain = route(logits, {.num_experts = 3, .top_k = 1, .normalize = false});
  const DispatchPlan biased =
      route(logits, {.num_experts = 3, .top_k = 1, .normalize = false, .selection_bias = bias});
  EXPECT_EQ(plain.expert, (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(biased.expert, (std::vector<std::int32_t>{0, 2}));
  const std::vector<float> strong{0, 0, 0.7F};
  const DispatchPlan moved =
      route(logits, {.num_experts = 3, .top_k = 1, .normalize = false, .selection_bias = strong});
  EXPECT_EQ(moved.expert, (std::vector<std::int32_t>{2, 2}));
  EXPECT_NEAR(moved.weight[0], 1 / (1 + std::exp(1.0) + std::exp(2.0)), 1e-6);
  EXPECT_TALPA_ERROR(route(logits, {.num_experts = 3, .selection_bias = {bias.data(), 2}}), kShape,
                     "selection bias of 2 values");
}

TEST(Route, AMaskedExpertIsNotChosenForItsBias) {
  const std::vector<float> logits{0, -INFINITY, 0}, bias{0, 9, 0};
  const DispatchPlan plan = route(logits, {.num_experts = 3, .selection_bias = bias});
  EXPECT_EQ(plan.expert, (std::vector<std::int32_t>{0, 2}));
}

}  // namespace
}  // namespace talpa
