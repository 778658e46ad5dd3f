// K experts of a group, N experts, M expert width, D model width, R latent width.
#include <numeric>

#include "fixtures.h"
#include "talpa/convert/eigen.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/linear.h"

namespace talpa::convert {
namespace {

constexpr Sizes kSeen{.experts = 6, .hidden = 12, .width = 20};

/// All experts as one group.
GroupInput one_group(const LayerExperts& experts, const std::vector<Side>& sides, int rank,
                     const Metric& metric) {
  GroupInput input;
  input.sides = sides;
  std::vector<at::Tensor> stacks;
  for (const Side side : sides) stacks.push_back(experts.read(side));
  input.expert_MD = experts_in_memory(std::move(stacks));
  input.members.resize(static_cast<std::size_t>(experts.num_experts()));
  std::iota(input.members.begin(), input.members.end(), 0);
  input.latent_dim = rank;
  input.metric = &metric;
  return input;
}

ProjectionFit error_of(const LayerExperts& experts, Side side, const GroupFactors& factors) {
  ErrorSum sum(side, experts.statistics());
  const at::Tensor all_NMD = experts.read(side);
  for (std::int64_t e = 0; e < experts.num_experts(); ++e)
    sum.add(e, all_NMD[e], factors.left_KMR[0][e].matmul(factors.right_RD));
  return sum.result(0);
}

double tail_of_gram(const at::Tensor& gram, std::int64_t rank) {
  const at::Tensor values = std::get<0>(torch::linalg_eigh(gram)).flip(0);
  return values.slice(0, rank).sum().item<double>();
}

TEST(Whitened, ErrorOfInputsIsTheTailInTheLayersMetric) {
  const LayerStatistics statistics = coarse(random_statistics(kSeen, 1));
  const LayerExperts experts(0, random_experts(kSeen, 2), &statistics);
  const Metric metric(statistics);
  const at::Tensor root_DD = torch::linalg_cholesky(statistics.input_moment(0));
  const at::Tensor effect_NM = statistics.up_effect_NM / statistics.mass2_N.unsqueeze(1);
  const at::Tensor seen_ND =
      (experts.read(Side::kUp).to(torch::kDouble).matmul(root_DD) * effect_NM.sqrt().unsqueeze(2))
          .flatten(0, 1);
  for (const int rank : {3, 11, 19}) {
    const auto factors = whitened_group(one_group(experts, {Side::kUp}, rank, metric));
    const ProjectionFit fit = error_of(experts, Side::kUp, factors);
    EXPECT_NEAR(*fit.weighted_error, tail_of_gram(seen_ND.t().matmul(seen_ND), rank),
                1e-8 * *fit.weighted_norm)
        << rank;
  }
}

TEST(Whitened, ErrorOfDownIsTheTailInTheHiddenMetric) {
  const LayerStatistics statistics = random_statistics(kSeen, 3);
  const LayerExperts experts(0, random_experts(kSeen, 4), &statistics);
  const Metric metric(statistics);
  const at::Tensor down_NMD = experts.read(Side::kDown).to(torch::kDouble);
  for (const int rank : {4, 15}) {
    const auto factors = whitened_group(one_group(experts, {Side::kDown}, rank, metric));
    at::Tensor gram_DD = torch::zeros({20, 20}, torch::kDouble);
    double error = 0;
    for (std::int64_t e = 0; e < 6; ++e) {
      const at::Tensor hidden_MM = metric.hidden(e);
      gram_DD += down_NMD[e].t().matmul(hidden_MM).matmul(down_NMD[e]);
      const at::Tensor rest_MD = down_NMD[e] - factors.left_KMR[0][e].matmul(factors.right_RD);
      error += (hidden_MM.matmul(rest_MD) * rest_MD).sum().item<double>();
    }
    EXPECT_NEAR(error, tail_of_gram(gram_DD, rank), 1e-9 * gram_DD.trace().item<double>()) << rank;
  }
}

TEST(Whitened, WinsInItsMetricAndLosesInThePlainOne) {
  for (const bool layer_only : {true, false})
    for (const Side side : kSides) {
      LayerStatistics statistics = random_statistics(kSeen, 5);
      if (layer_only) statistics = coarse(statistics);
      const LayerExperts experts(0, random_experts(kSeen, 6), &statistics);
      const Metric metric(statistics);
      const GroupInput input = one_group(experts, {side}, 8, metric);
      const ProjectionFit whitened = error_of(experts, side, whitened_group(input));
      const ProjectionFit plain = error_of(experts, side, svd_group(input));
      EXPECT_LT(*whitened.weighted_error, *plain.weighted_error) << enum_name(side);
      EXPECT_GT(whitened.squared_error, plain.squared_error) << enum_name(side);
      EXPECT_EQ(*whitened.weighted_norm, *plain.weighted_norm);
    }
}

TEST(Whitened, LeftFactorsSolveTheExpertsOwnLeastSquares) {
  const LayerStatistics statistics = random_statistics(kSeen, 7);
  const LayerExperts experts(0, random_experts(kSeen, 8), &statistics);
  const Metric metric(statistics);
  const auto factors = whitened_group(one_group(experts, {Side::kGate, Side::kUp}, 9, metric));
  const std::vector<Side> sides{Side::kGate, Side::kUp};
  for (std::size_t s = 0; s < sides.size(); ++s) {
    const at::Tensor all_NMD = experts.read(sides[s]).to(torch::kDouble);
    for (std::int64_t e = 0; e < 6; ++e) {
      const at::Tensor metric_DD = metric.input(e);
      const at::Tensor rest_MD = all_NMD[e] - factors.left_KMR[s][e].matmul(factors.right_RD);
      const at::Tensor gradient_MR = rest_MD.matmul(metric_DD).matmul(factors.right_RD.t());
      const at::Tensor scale_MR = all_NMD[e].matmul(metric_DD).matmul(factors.right_RD.t());
      EXPECT_LT((gradient_MR.norm() / scale_MR.norm()).item<double>(), 1e-8);
    }
  }
}

TEST(Whitened, EveryRoundOfRefiningLowersTheError) {
  const LayerStatistics statistics = random_statistics(kSeen, 13);
  const LayerExperts experts(0, random_experts(kSeen, 14), &statistics);
  const Metric metric(statistics);
  GroupInput input = one_group(experts, {Side::kGate}, 7, metric);
  double last = *error_of(experts, Side::kGate, whitened_group(input)).weighted_error;
  for (int rounds = 1; rounds <= 4; ++rounds) {
    input.refine = rounds;
    const double error = *error_of(experts, Side::kGate, whitened_group(input)).weighted_error;
    EXPECT_LT(error, last) << rounds;
    last = error;
  }
  const LayerStatistics rough = coarse(statistics);
  const Metric layer_metric(rough);
  GroupInput closed = one_group(experts, {Side::kGate}, 7, layer_metric);
  const GroupFactors before = whitened_group(closed);
  closed.refine = 3;
  EXPECT_TRUE(whitened_group(closed).right_RD.equal(before.right_RD));
}

TEST(Whitened, ExpertsThatSawNothingLeanOnTheLayer) {
  LayerStatistics statistics = random_statistics(kSeen, 9);
  for (const at::Tensor& sum :
       {statistics.rows_N, statistics.mass_N, statistics.mass2_N, statistics.input_moments,
        statistics.hidden_moments, statistics.gate_effect_NM, statistics.up_effect_NM})
    sum[2].zero_();
  const LayerExperts experts(0, random_experts(kSeen, 10), &statistics);
  const Metric metric(statistics);
  const at::Tensor layer_DD = statistics.layer_input_moment();
  EXPECT_LT(relative(metric.input(2) / metric.input(2).trace(), layer_DD / layer_DD.trace()),
            1e-12);
  const at::Tensor hidden_MM = metric.hidden(2);
  EXPECT_LT(relative(hidden_MM, torch::eye(12, torch::kDouble) * hidden_MM[0][0]), 1e-12);
  const at::Tensor rows_M = metric.rows(Side::kUp, 2);
  EXPECT_GT(rows_M.min().item<double>(), 0);
  EXPECT_EQ(rows_M.min().item<double>(), rows_M.max().item<double>());
  for (const Side side : kSides) {
    const auto factors = whitened_group(one_group(experts, {side}, 8, metric));
    const at::Tensor expert_MD = experts.read(side)[2].to(torch::kDouble);
    EXPECT_LT(relative(factors.left_KMR[0][2].matmul(factors.right_RD), expert_MD), 1);
  }
}

TEST(Whitened, GaugeLeavesProducts) {
  torch::manual_seed(11);
  const GroupFactors factors{{torch::randn({3, 5, 4}, torch::kDouble)},
                             torch::randn({4, 9}, torch::kDouble)};
  GroupFactors even = factors;
  for (at::Tensor& left : even.left_KMR) left = left.clone();
  balance(even);
  EXPECT_LT(relative(even.left_KMR[0].matmul(even.right_RD),
                     factors.left_KMR[0].matmul(factors.right_RD)),
            1e-12);
  const at::Tensor gram_RR = even.right_RD.matmul(even.right_RD.t());
  EXPECT_LT(relative(gram_RR, torch::diag(gram_RR.diagonal())), 1e-12);
  const at::Tensor left = even.left_KMR[0].flatten(0, 1), left_RR = left.t().matmul(left) / 3;
  EXPECT_LT(relative(left_RR, gram_RR), 1e-12);
}

TEST(Eigen, IterationKeepsTheEnergyOfAFullDecomposition) {
  torch::manual_seed(12);
  const at::Tensor slope = torch::logspace(0, -1.5, 600, 10, torch::kDouble);
  const at::Tensor rows = torch::randn({900, 600}, torch::kDouble) * slope;
  const at::Tensor gram = rows.t().matmul(rows);
  for (const int rank : {1, 24, 75}) {
    const at::Tensor full = leading_eigenvectors_full(gram, rank);
    const at::Tensor fast = leading_eigenvectors_iterated(gram, rank);
    const at::Tensor identity = torch::eye(rank, torch::kDouble);
    EXPECT_LT((fast.t().matmul(fast) - identity).norm().item<double>(), 1e-10);
    auto error = [&](const at::Tensor& basis) {
      return (gram.trace() - basis.t().matmul(gram).matmul(basis).trace()).item<double>();
    };
    EXPECT_NEAR(error(fast), error(full), 1e-4 * error(full)) << rank;
    EXPECT_TRUE(leading_eigenvectors(gram, rank).equal(fast)) << rank;
  }
}

TEST(Eigen, CholeskyOfASingularMoment) {
  const at::Tensor row = torch::arange(1, 6, torch::kDouble).unsqueeze(0);
  const at::Tensor moment = row.t().matmul(row), root = cholesky_factor(moment);
  EXPECT_LT(relative(root.matmul(root.t()), moment), 1e-8);
  EXPECT_TALPA_ERROR(cholesky_factor(-torch::eye(3, torch::kDouble)), kInternal, "semidefinite");
}

TEST(WhitenedSpectrum, IsTheLayersOutputOnEverySide) {
  const Sizes sizes;
  LayerStatistics statistics = random_statistics(sizes, 3, 4000);
  statistics.input_moments =
      statistics.input_moments[0].expand_as(statistics.input_moments).clone();
  const LayerExperts experts(0, random_experts(sizes, 5), &statistics);
  const Metric metric(statistics);
  for (const Side side : kSides) {
    ErrorSum lost(side, &statistics);
    for (std::int64_t e = 0; e < sizes.experts; ++e) {
      const at::Tensor expert_MD = experts.read(side, e, 1)[0];
      lost.add(e, expert_MD, torch::zeros_like(expert_MD));
    }
    const double all =
        whitened_spectrum(one_group(experts, {side}, 8, metric)).sum().item<double>();
    const double expected = *lost.result(0).weighted_norm;
    EXPECT_NEAR(all / expected, 1, 0.01) << enum_name(side);  // but for the prior's rows
  }
}

TEST(WhitenedSpectrum, OfFewRowsIsThatOfManyMadeOfThemAndZeros) {
  const Sizes few{.experts = 1};
  const LayerStatistics statistics = random_statistics(few, 3);
  auto padded = [&](const at::Tensor& rows, std::vector<std::int64_t> padding) {
    return torch::constant_pad_nd(rows, padding);
  };
  LayerStatistics wide = statistics;
  wide.gate_effect_NM = padded(statistics.gate_effect_NM, {0, 24});
  wide.hidden_moments = padded(statistics.hidden_moments, {0, 24, 0, 24});
  LayerExperts::Tensors tensors = random_experts(few, 5);
  const LayerExperts experts(0, tensors, &statistics);
  for (at::Tensor* side : {&tensors.gate_NMD, &tensors.up_NMD, &tensors.down_NMD})
    *side = padded(*side, {0, 0, 0, 24});
  const LayerExperts wider(0, tensors, &wide);
  const Metric metric(statistics), of_wide(wide);
  for (const Side side : {Side::kGate, Side::kDown}) {
    const at::Tensor spectrum = whitened_spectrum(one_group(experts, {side}, 8, metric));
    EXPECT_EQ(spectrum.size(0), few.hidden);
    const at::Tensor all = whitened_spectrum(one_group(wider, {side}, 8, of_wide));
    EXPECT_EQ(all.size(0), few.width);
    EXPECT_LT(relative(all.slice(0, 0, few.hidden), spectrum), 0.01) << enum_name(side);
    EXPECT_LT(all.slice(0, few.hidden).sum().item<double>(), 1e-9 * all.sum().item<double>());
  }
}

}  // namespace
}  // namespace talpa::convert
