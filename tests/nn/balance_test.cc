#include "talpa/nn/moe/balance.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/decoders.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

constexpr int kRows = 240, kExperts = 6, kChoices = 2;

/// Scores that would send most rows to the first experts.
at::Tensor skewed_logits() {
  torch::manual_seed(4);
  return at::randn({kRows, kExperts}) + at::arange(kExperts, 0, -1).to(at::kFloat);
}

std::vector<std::int64_t> rows_of_experts(const at::Tensor& logits, const at::Tensor& bias) {
  const MoeConfig config{.num_experts = kExperts, .top_k = kChoices};
  const Routing routing = route_rows(logits, config, bias);
  std::vector<std::int64_t> rows;
  for (int e = 0; e < kExperts; ++e) rows.push_back(routing.plan.count(e));
  return rows;
}

TEST(Balance, ABiasChoosesAndDoesNotWeigh) {
  const at::Tensor logits = at::tensor({2.0F, 1.0F, 0.0F}).view({1, 3});
  const MoeConfig config{.num_experts = 3, .top_k = 1, .normalize_top_k = false};
  const Routing plain = route_rows(logits, config);
  const Routing biased = route_rows(logits, config, at::tensor({0.0F, 0.0F, 1.0F}));
  EXPECT_EQ(plain.plan.expert[0], 0);
  EXPECT_EQ(biased.plan.expert[0], 2);
  EXPECT_FLOAT_EQ(biased.weight_S.item<float>(), logits.softmax(1)[0][2].item<float>());
  EXPECT_FLOAT_EQ(biased.plan.weight[0], biased.weight_S.item<float>());
}

TEST(Balance, SignStepsMoveEachExpertByTheRate) {
  at::Tensor bias = at::zeros({4});
  step_bias_by_sign(bias, {9, 1, 5, 5}, 0.5);
  EXPECT_TRUE(bias.equal(at::tensor({-0.5F, 0.5F, 0.0F, 0.0F})));
}

TEST(Balance, SignStepsEvenOut) {
  at::Tensor bias = at::zeros({kExperts});
  const auto before = load_statistics(rows_of_experts(skewed_logits(), bias));
  // Every step moves every expert: only small ones come to rest.
  for (int step = 0; step < 900; ++step)
    step_bias_by_sign(bias, rows_of_experts(skewed_logits(), bias), step < 400 ? 5e-3 : 1e-4);
  const auto after = load_statistics(rows_of_experts(skewed_logits(), bias));
  EXPECT_GT(before.max_over_mean, 2);
  EXPECT_LT(after.max_over_mean, 1.15);
  EXPECT_GT(after.min_over_mean, 0.85);
}

/// One shift lets as many rows over an expert's threshold as it should have; thresholds move with
/// it, so that a few shifts are needed.
TEST(Balance, QuantileShiftsEvenOutInAFewSteps) {
  at::Tensor bias = at::zeros({kExperts});
  const at::Tensor probs = skewed_logits().softmax(1);
  for (int step = 0; step < 20; ++step)
    step_bias_by_shift(bias, quantile_shift(probs, bias, kChoices), 1);
  const auto after = load_statistics(rows_of_experts(skewed_logits(), bias));
  EXPECT_LT(after.max_over_mean, 1.1);
  EXPECT_NEAR(bias.mean().item<float>(), 0, 1e-6);
}

TEST(Balance, QuantileShiftByHand) {
  // K = 1: thresholds are the second largest of each row; q = 2 of 4 rows.
  const at::Tensor scores =
      at::tensor({0.9F, 0.1F, 0.8F, 0.2F, 0.7F, 0.3F, 0.4F, 0.6F}).view({4, 2});
  const at::Tensor shift = quantile_shift(scores, at::zeros({2}), 1);
  // Margins of the first column are .8, .6, .4, 0 and of the second 0, 0, 0, .2.
  EXPECT_NEAR(shift[0].item<float>(), 0.4, 1e-6);
  EXPECT_NEAR(shift[1].item<float>(), 0.0, 1e-6);
  EXPECT_TRUE(quantile_shift(scores, at::zeros({2}), 2).equal(at::zeros({2})));
}

class BalanceScopes : public ::testing::Test {
 protected:
  BalanceScopes() {
    torch::manual_seed(1);
    config_.num_experts = kExperts;
    config_.top_k = kChoices;
    config_.hidden_dim = 3;
    parameters_["moe.router"] = at::randn({kExperts, 4}, at::kDouble);
    parameters_["moe.gate"] = parameters_["moe.up"] = at::randn({kExperts, 3, 4}, at::kDouble);
    parameters_["moe.down"] = at::randn({kExperts, 4, 3}, at::kDouble);
    x_ = at::randn({12, 4}, at::kDouble);
  }
  MoeOutput run(const at::Tensor& x, const BalanceOptions& options) const {
    return moe_layer(x, Scope(parameters_), config_, options);
  }
  MoeConfig config_;
  Parameters parameters_;
  at::Tensor x_;
};

TEST_F(BalanceScopes, SequencesAreReckonedOneByOne) {
  const double whole = run(x_, {BalanceScope::kSequence, 3, {}, false}).balance_loss.item<double>();
  double mean = 0;
  for (int s = 0; s < 3; ++s)
    mean += run(x_.narrow(0, 4 * s, 4), {}).balance_loss.item<double>() / 3;
  EXPECT_NEAR(whole, mean, 1e-14);
}

TEST_F(BalanceScopes, GlobalBatchCountsEarlierRows) {
  const auto first = run(x_.narrow(0, 0, 6), {});
  const at::Tensor second = x_.narrow(0, 6, 6);
  const double global = run(second, {BalanceScope::kGlobalBatch, 1, first.rows_per_expert, false})
                            .balance_loss.item<double>();
  const auto all = run(x_, {}).rows_per_expert;
  const at::Tensor probs = router_logits(second, parameters_.at("moe.router")).softmax(1).mean(0);
  double expected = 0;
  for (int e = 0; e < kExperts; ++e)
    expected += kExperts * static_cast<double>(all[e]) / 24 * probs[e].item<double>();
  EXPECT_NEAR(global, expected, 1e-14);
}

}  // namespace
}  // namespace talpa::nn
