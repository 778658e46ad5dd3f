// N experts, G bases, M expert width, R latent width, D model width, K rank of a basis, X = R - K.
#include "talpa/convert/slbf.h"

#include "bases_fixtures.h"
#include "talpa/convert/convert.h"
#include "talpa/convert/gauge.h"
#include "talpa/model/basis_pivots.h"

namespace talpa::convert {
namespace {

constexpr BasesSizes kSlbfSizes{
    .experts = 8, .bases = 8, .hidden = 16, .latent = 12, .width = 32, .rank = 3};

ConvertOptions slbf_options(const std::string& method, int steps = 300) {
  ConvertOptions options{.method = method, .steps = steps, .dtype = DType::kF32};
  options.latent.latent_dim = kSlbfSizes.latent;
  options.latent.basis_rank = kSlbfSizes.rank;
  options.latent.factor_down = true;
  return options;
}

DecoderConfig slbf_original() {
  return config_of({kSlbfSizes.experts, kSlbfSizes.hidden, kSlbfSizes.width});
}

double error_of(const ProjectionFit& p) { return std::sqrt(p.squared_error / p.squared_norm); }

TEST(Gauge, KeepsTheProductAndPutsTheIdentityAtThePivots) {
  torch::manual_seed(1);
  for (const std::int64_t rank : {1, 4, 9}) {
    const at::Tensor left_GRK = torch::randn({5, 10, rank}, torch::kDouble);
    const at::Tensor right_GKD = torch::randn({5, rank, 14}, torch::kDouble);
    const GaugeFixed gauge = fix_gauge(left_GRK, right_GKD);
    const at::Tensor left = left_of(gauge);
    EXPECT_LT(relative(left.bmm(gauge.right_GKD), left_GRK.bmm(right_GKD)), 1e-11);
    for (std::int64_t g = 0; g < 5; ++g) {
      const at::Tensor rows = gauge.pivot_GR[g].nonzero().squeeze(1);
      ASSERT_EQ(rows.size(0), rank);
      EXPECT_TRUE(left[g].index_select(0, rows).equal(torch::eye(rank, torch::kDouble)));
    }
    EXPECT_EQ(gauge.basis_GXK.sizes(), (std::vector<std::int64_t>{5, 10 - rank, rank}));
  }
}

TEST(Gauge, PivotsAreThoseOfAPivotedQr) {
  // Rows of falling size at right angles: taken by size, wherever they stand.
  at::Tensor left_GRK = torch::zeros({1, 6, 3}, torch::kDouble);
  left_GRK[0][4][1] = 5;
  left_GRK[0][1][2] = 3;
  left_GRK[0][5][0] = 2;
  left_GRK[0][0][1] = 4;  // larger than the last two, but nothing of it remains after row 4
  const at::Tensor pivots = pivot_rows(left_GRK);
  EXPECT_TRUE(pivots.equal(torch::tensor({{4, 1, 5}}, torch::kLong))) << pivots;
}

TEST(Gauge, RankDeficientBasesKeepTheirProduct) {
  torch::manual_seed(2);
  const at::Tensor thin = torch::randn({2, 8, 2}, torch::kDouble);
  const at::Tensor left_GRK = thin.matmul(torch::randn({2, 4}, torch::kDouble));
  const at::Tensor right_GKD = torch::randn({2, 4, 9}, torch::kDouble);
  const GaugeFixed gauge = fix_gauge(left_GRK, right_GKD);
  EXPECT_LT(relative(left_of(gauge).bmm(gauge.right_GKD), left_GRK.bmm(right_GKD)), 1e-9);
  EXPECT_TRUE(gauge.pivot_GR.sum(1).eq(4).all().item<bool>());
}

TEST(Slbf, RepresentableExpertsAreFound) {
  for (const std::string method : {"slbf", "slbf-plus"}) {
    const auto activation = method == "slbf" ? BasisActivation::kSilu : BasisActivation::kTanh;
    const LayerExperts experts(0, representable_experts(kSlbfSizes, activation, 3));
    const LayerFit linear =
        fit_layer("svd", experts, {.latent = {.latent_dim = 12, .group_size = 8}});
    const ConvertOptions options = slbf_options(method, method == "slbf" ? 3000 : 1500);
    const Method& found = method_named(method);
    const DecoderConfig target = found.plan(slbf_original(), options);
    EXPECT_EQ(target.moe.latent.basis_activation, activation);
    const LayerFit fit = found.fit(experts, target, {.options = options});
    ASSERT_EQ(fit.projections.size(), 3U);
    for (const ProjectionFit& p : fit.projections) {
      EXPECT_LT(error_of(p), error_of(linear.projections[0]) / 3) << method;
      const at::Tensor dense = dense_of(fit, target.moe.latent, p.side, experts);
      EXPECT_NEAR(relative(dense, experts.read(p.side)), error_of(p), 1e-4) << method;
    }
  }
}

TEST(Slbf, TensorsAreThoseOfTheTargetAndPivotsAreWellFormed) {
  const LayerExperts experts(0, random_experts({8, 16, 32}, 4));
  for (const int group_size : {1, 2}) {
    ConvertOptions options = slbf_options("slbf-plus", 5);
    options.latent.group_size = group_size;
    const Method& method = method_named("slbf-plus");
    const DecoderConfig target = method.plan(slbf_original(), options);
    const LayerFit fit = method.fit(experts, target, {.options = options});
    expect_complete(fit, target);
    for (const char* name : {"gate_pivot", "up_pivot", "down_pivot"}) {
      const at::Tensor& pivot_GR = fit.tensors.at(name);
      EXPECT_TRUE(pivot_GR.sum(1).eq(3).all().item<bool>());
      EXPECT_TRUE((pivot_GR.eq(0) | pivot_GR.eq(1)).all().item<bool>());
    }
  }
}

TEST(Slbf, BudgetDecidesTheSizes) {
  for (const std::string method : {"slbf", "slbf-plus"})
    for (const double budget : {0.75, 0.5, 0.35}) {
      ConvertOptions options{.method = method, .budget = budget};
      options.latent.factor_down = true;
      const DecoderConfig target = method_named(method).plan(slbf_original(), options);
      const double share = static_cast<double>(account_of(target).expert_params) /
                           static_cast<double>(account_of(slbf_original()).expert_params);
      EXPECT_LE(share, budget);
      EXPECT_GT(share, budget - 0.15);
      EXPECT_EQ(target.num_groups(), 8);
      if (budget == 0.75) {
        EXPECT_EQ(target.moe.latent.latent_dim, 16);  // r = m
      }
    }
  ConvertOptions options{.method = "slbf"};
  options.latent.basis_rank = 2;
  EXPECT_EQ(method_named("slbf").plan(slbf_original(), options).moe.latent.latent_dim, 16);
}

TEST(Slbf, RefusesWhatCannotBe) {
  const Method& method = method_named("slbf");
  auto plan = [&](int latent_dim, int basis_rank, int group_size, double budget) {
    ConvertOptions options{.method = "slbf", .budget = budget};
    options.latent.latent_dim = latent_dim;
    options.latent.basis_rank = basis_rank;
    options.latent.group_size = group_size;
    return method.plan(slbf_original(), options);
  };
  EXPECT_TALPA_ERROR(plan(12, 12, 0, 0), kConfig, "is not below");
  EXPECT_TALPA_ERROR(plan(17, 3, 0, 0), kConfig, "16 wide at most");
  EXPECT_TALPA_ERROR(plan(12, 3, 8, 0), kConfig, "none to mix");
  EXPECT_TALPA_ERROR(plan(12, 3, 3, 0), kConfig, "does not divide");
  EXPECT_TALPA_ERROR(plan(16, 15, 1, 0), kConfig, "times the dense experts");
  EXPECT_TALPA_ERROR(plan(12, 3, 0, 0.5), kUsage, "not both");
  EXPECT_TALPA_ERROR(plan(12, 0, 0, 0), kUsage, "budget");
  EXPECT_TALPA_ERROR(plan(16, 0, 0, 0.5), kConfig, "no basis rank");
  EXPECT_TALPA_ERROR(plan(0, 0, 0, 0.3), kConfig, "leaves nothing");  // gate and up alone
}

TEST(Slbf, AnInterruptedFitEndsAsAnUninterruptedOne) {
  const testing::Scratch scratch;
  const LayerStatistics statistics = random_statistics({8, 16, 32}, 5);
  const LayerExperts experts(0, random_experts({8, 16, 32}, 6), &statistics);
  for (const std::string method : {"slbf", "slbf-plus"}) {
    const ConvertOptions options = slbf_options(method, 60);
    const Method& found = method_named(method);
    const DecoderConfig target = found.plan(slbf_original(), options);
    const LayerFit whole = found.fit(experts, target, {.options = options});
    const auto folder = scratch / method;
    std::filesystem::create_directories(folder);
    expect_same(whole, interrupted_fit(found, experts, target, options, folder));
  }
}

TEST(Slbf, PlusBeatsThePublishedFitAtEqualSteps) {
  const LayerExperts::Tensors tensors = random_experts({8, 16, 32}, 7);
  const LayerStatistics statistics = random_statistics({8, 16, 32}, 8);
  const LayerExperts plain(0, tensors), seen(0, tensors, &statistics);
  const LayerFit published = fit_layer("slbf", plain, slbf_options("slbf"));
  const LayerFit plus = fit_layer("slbf-plus", plain, slbf_options("slbf-plus"));
  const LayerFit weighted = fit_layer("slbf-plus", seen, slbf_options("slbf-plus"));
  const LayerFit reported = fit_layer("slbf", seen, slbf_options("slbf"));
  for (std::size_t p = 0; p < 3; ++p) {
    EXPECT_LT(error_of(plus.projections[p]), error_of(published.projections[p]));
    EXPECT_LT(*weighted.projections[p].weighted_error, *reported.projections[p].weighted_error);
    EXPECT_GT(error_of(weighted.projections[p]), error_of(plus.projections[p]));
  }
}

TEST(Slbf, ConvertedModelEqualsItsMaterialisedForm) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ConvertOptions options = slbf_options("slbf", 20);
    options.dtype = dtype;
    options.overwrite = true;
    const ConversionReport report = convert_model(original, scratch / "slbf", options);
    const ModelFiles converted = open_model(scratch / "slbf");
    EXPECT_EQ(account_of(converted.config).expert_params, report.expert_params_after);
    materialise(converted, scratch / "dense", DType::kF32, true);
    EXPECT_LT(largest_difference(logits_of(scratch / "slbf"), logits_of(scratch / "dense")), 1e-5);
  }
}

}  // namespace
}  // namespace talpa::convert
