// N experts, C clusters, M expert width, D model width, R rank.
#include "fixtures.h"
#include "talpa/convert/delta.h"
#include "talpa/convert/merge.h"
#include "talpa/convert/prune.h"

namespace talpa::convert {
namespace {

constexpr Sizes kRivals{.experts = 6, .hidden = 12, .width = 20};

TEST(Prune, KeepsTheExpertsWithTheLargestMeanOutput) {
  LayerStatistics statistics = random_statistics(kRivals, 1);
  statistics.rows_N = torch::tensor({100, 400, 50, 0, 300, 200}, torch::kLong);
  // Means .02, .1, .04, -, .1, .01.
  statistics.output_mass_N = torch::tensor({2.0, 40.0, 2.0, 0.0, 30.0, 2.0}, torch::kDouble);
  EXPECT_EQ(kept_experts(statistics, 2), (std::vector<std::int64_t>{1, 4}));
  EXPECT_EQ(kept_experts(statistics, 3), (std::vector<std::int64_t>{1, 2, 4}));
  EXPECT_EQ(kept_experts(statistics, 5), (std::vector<std::int64_t>{0, 1, 2, 4, 5}));
  const LayerExperts experts(0, random_experts(kRivals, 2), &statistics);
  const LayerFit fit =
      fit_layer("prune", experts, {.method = "prune", .budget = 0.5, .dtype = DType::kF32});
  const at::Tensor kept_N = torch::tensor({1, 2, 4}, torch::kLong);
  EXPECT_TRUE(fit.tensors.at("router").equal(experts.router().index_select(0, kept_N)));
  for (const Side side : kSides)
    EXPECT_TRUE(dense_of(fit, side).equal(experts.read(side).index_select(0, kept_N)));
  const at::Tensor gone_N = torch::tensor({0, 3, 5}, torch::kLong);
  const double gone = experts.read(Side::kUp).index_select(0, gone_N).square().sum().item<double>();
  EXPECT_NEAR(fit.projections[1].squared_error, gone, 1e-5 * gone);
}

TEST(Prune, RefusesNoiseAndImpossibleNumbers) {
  LayerStatistics statistics = random_statistics(kRivals, 3, 31);
  const LayerExperts experts(2, random_experts(kRivals, 4), &statistics);
  EXPECT_TALPA_ERROR(fit_layer("prune", experts, {.method = "prune", .num_experts = 3}), kUsage,
                     "layer 2 saw 186 rows of calibration text, expert 0 only 31");
  EXPECT_TALPA_ERROR(fit_layer("prune", experts, {.method = "prune", .num_experts = 1}), kConfig,
                     "fewer than the 2");
  EXPECT_TALPA_ERROR(fit_layer("prune", experts, {.method = "prune", .num_experts = 6}), kConfig,
                     "not fewer than");
  ConvertOptions options{.method = "prune", .budget = 0.5};
  options.latent.latent_dim = 8;
  EXPECT_TALPA_ERROR(fit_layer("prune", experts, options), kUsage, "makes no latents");
}

TEST(Merge, AverageLinkageOnALine) {
  const at::Tensor at_N = torch::tensor({0.0, 10.0, 1.0, 14.0, 10.5, 30.0}, torch::kDouble);
  const at::Tensor distance = (at_N.unsqueeze(0) - at_N.unsqueeze(1)).abs();
  EXPECT_EQ(average_linkage(distance, 6), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(average_linkage(distance, 4), (std::vector<std::int64_t>{0, 1, 0, 2, 1, 3}));
  EXPECT_EQ(average_linkage(distance, 3), (std::vector<std::int64_t>{0, 1, 0, 1, 1, 2}));
  EXPECT_EQ(average_linkage(distance, 2), (std::vector<std::int64_t>{0, 0, 0, 0, 0, 1}));
}

TEST(Merge, TakesTheMeanByUse) {
  LayerStatistics statistics = random_statistics(kRivals, 5);
  statistics.rows_N = torch::tensor({300, 100, 1, 1, 0, 0}, torch::kLong);
  statistics.mean_output_ND = torch::zeros({6, 20}, torch::kDouble);
  for (std::int64_t e = 0; e < 6; ++e) statistics.mean_output_ND[e][e / 2] = 1 + 0.01 * e;
  const LayerExperts experts(0, random_experts(kRivals, 6), &statistics);
  const LayerFit fit =
      fit_layer("merge", experts, {.method = "merge", .num_experts = 3, .dtype = DType::kF32});
  EXPECT_EQ(fit.expert_params, 3 * 3 * 12 * 20);
  for (const Side side : kSides) {
    const at::Tensor all_NMD = experts.read(side), dense_NMD = dense_of(fit, side);
    EXPECT_LT(relative(dense_NMD[0], 0.75 * all_NMD[0] + 0.25 * all_NMD[1]), 1e-6);
    EXPECT_LT(relative(dense_NMD[5], 0.5 * all_NMD[4] + 0.5 * all_NMD[5]), 1e-6);
    EXPECT_TRUE(dense_NMD[2].equal(dense_NMD[3]));
  }
  EXPECT_FALSE(fit.tensors.contains("router"));
}

TEST(Merge, EqualExpertsMergeWithoutErrorFromWeightsAlone) {
  LayerExperts::Tensors tensors = random_experts(kRivals, 7);
  for (at::Tensor* stack : {&tensors.gate_NMD, &tensors.up_NMD, &tensors.down_NMD})
    *stack = stack->index_select(0, torch::tensor({0, 1, 2, 1, 0, 2}, torch::kLong));
  const LayerFit fit =
      fit_layer("merge", LayerExperts(0, tensors), {.method = "merge", .budget = 0.5});
  for (const ProjectionFit& row : fit.projections)
    EXPECT_LT(row.squared_error, 1e-12 * row.squared_norm);
}

TEST(Delta, BaseAndLowRankDifferencesComeBack) {
  torch::manual_seed(8);
  auto stack = [] {
    at::Tensor delta_NMD = torch::randn({6, 12, 2}).matmul(torch::randn({6, 2, 20}));
    // Of mean zero for equal weights, so that the base is the mean; one has the rest's rank.
    delta_NMD[1] = -delta_NMD[0];
    delta_NMD[3] = -delta_NMD[2];
    delta_NMD[5] = -delta_NMD[4];
    return torch::randn({1, 12, 20}) + delta_NMD;
  };
  const LayerExperts::Tensors tensors{stack(), stack(), stack(), torch::randn({6, 20})};
  const LayerStatistics fine = random_statistics(kRivals, 9);
  for (const LayerStatistics* statistics : {&fine, static_cast<const LayerStatistics*>(nullptr)}) {
    const LayerExperts experts(0, tensors, statistics);
    ConvertOptions options{.method = "delta", .dtype = DType::kF32};
    options.latent.latent_dim = 2;
    const LayerFit fit = fit_layer("delta", experts, options);
    EXPECT_EQ(fit.expert_params, 3 * (12 * 20 + 6 * 2 * 32));
    for (const Side side : kSides)
      EXPECT_LT(relative(dense_of(fit, side), experts.read(side)), 1e-6) << enum_name(side);
  }
}

TEST(Delta, CutIsTheBestOfItsRankInTheMetric) {
  torch::manual_seed(10);
  const auto wide = torch::TensorOptions(torch::kDouble);
  const at::Tensor matrix_MD = torch::randn({6, 9}, wide);
  auto moment = [&](std::int64_t width) {
    const at::Tensor x = torch::randn({50, width}, wide) * torch::arange(1, width + 1, wide);
    return x.t().matmul(x);
  };
  const at::Tensor left_MM = moment(6), right_DD = moment(9);
  auto tail = [](const at::Tensor& seen, std::int64_t rank) {
    return torch::linalg_svdvals(seen).slice(0, rank).square().sum().item<double>();
  };
  const at::Tensor by_left = matrix_MD - cut_in_metric(matrix_MD, 3, left_MM, {});
  const at::Tensor left_root = torch::linalg_cholesky(left_MM);
  EXPECT_NEAR((left_MM.matmul(by_left) * by_left).sum().item<double>(),
              tail(left_root.t().matmul(matrix_MD), 3), 1e-6);
  const at::Tensor by_right = matrix_MD - cut_in_metric(matrix_MD, 3, {}, right_DD);
  const at::Tensor right_root = torch::linalg_cholesky(right_DD);
  EXPECT_NEAR((by_right.matmul(right_DD) * by_right).sum().item<double>(),
              tail(matrix_MD.matmul(right_root), 3), 1e-6);
  const at::Tensor plain = matrix_MD - cut_in_metric(matrix_MD, 3, {}, {});
  EXPECT_NEAR(plain.square().sum().item<double>(), tail(matrix_MD, 3), 1e-9);
}

TEST(Delta, BudgetIsKept) {
  const LayerExperts experts(0, random_experts(kRivals, 11));
  for (const double budget : {0.4, 0.6}) {
    const LayerFit fit = fit_layer("delta", experts, {.method = "delta", .budget = budget});
    const double share = static_cast<double>(fit.expert_params) / (3 * 6 * 12 * 20);
    EXPECT_LE(share, budget);
    EXPECT_GT(share, budget - 0.14);  // a rank more would not fit: (m + n) / (m n) = .133
  }
  EXPECT_TALPA_ERROR(fit_layer("delta", experts, {.method = "delta", .budget = 0.2}), kConfig,
                     "do not take less");
  EXPECT_TALPA_ERROR(fit_layer("delta", experts, {.method = "delta"}), kUsage, "a rank");
}

}  // namespace
}  // namespace talpa::convert
