// N experts, G bases, M expert width, R latent width, D model width.
#include "talpa/convert/mobe.h"

#include "bases_fixtures.h"
#include "talpa/convert/convert.h"
#include "talpa/convert/stored_bases.h"

namespace talpa::convert {
namespace {

constexpr BasesSizes kMobeSizes{.experts = 8, .bases = 4, .hidden = 16, .latent = 6, .width = 32};

ConvertOptions mobe_options(const std::string& method, int steps = 300) {
  ConvertOptions options{.method = method, .steps = steps, .dtype = DType::kF32};
  options.latent.latent_dim = kMobeSizes.latent;
  options.latent.group_size = 2;
  options.latent.factor_down = true;
  return options;
}

DecoderConfig mobe_original() {
  return config_of({kMobeSizes.experts, kMobeSizes.hidden, kMobeSizes.width});
}

double fit_error(const LayerFit& fit, std::size_t projection) {
  const ProjectionFit& p = fit.projections.at(projection);
  return std::sqrt(p.squared_error / p.squared_norm);
}

TEST(Mobe, RepresentableExpertsAreFound) {
  for (const auto activation : {BasisActivation::kSilu, BasisActivation::kTanh}) {
    const LayerExperts experts(0, representable_experts(kMobeSizes, activation, 1));
    const LayerFit linear =
        fit_layer("svd", experts, {.latent = {.latent_dim = 6, .group_size = 2}});
    for (const std::string method : {"mobe", "mobe-plus"}) {
      ConvertOptions options = mobe_options(method, method == "mobe" ? 3000 : 1000);
      options.latent.basis_activation = activation;
      const Method& found = method_named(method);
      const DecoderConfig target = found.plan(mobe_original(), options);
      const LayerFit fit = found.fit(experts, target, {.options = options});
      ASSERT_EQ(fit.projections.size(), 3U);
      for (std::size_t p = 0; p < 3; ++p) {
        EXPECT_LT(fit_error(fit, p), 0.6 * fit_error(linear, 0)) << method << " " << p;
        const Side side = fit.projections[p].side;
        const at::Tensor dense = dense_of(fit, target.moe.latent, side, experts);
        EXPECT_NEAR(relative(dense, experts.read(side)), fit_error(fit, p), 1e-4) << method;
      }
    }
  }
}

TEST(Mobe, TensorsAreThoseOfTheTarget) {
  const LayerExperts experts(0, random_experts({8, 16, 32}, 2));
  for (const bool down : {false, true}) {
    ConvertOptions options = mobe_options("mobe", 5);
    options.latent.factor_down = down;
    const Method& method = method_named("mobe");
    const DecoderConfig target = method.plan(mobe_original(), options);
    EXPECT_EQ(target.family, Family::kTalpa);
    EXPECT_TRUE(target.moe.latent.mixed);
    EXPECT_EQ(target.moe.latent.basis_activation, BasisActivation::kSilu);
    expect_complete(method.fit(experts, target, {.options = options}), target);
  }
}

TEST(Mobe, BudgetIsKeptAndGroupsHaveADefault) {
  const Method& method = method_named("mobe-plus");
  for (const double budget : {0.75, 0.5}) {
    ConvertOptions options{.method = "mobe-plus", .budget = budget};
    options.latent.factor_down = true;
    const DecoderConfig target = method.plan(mobe_original(), options);
    EXPECT_EQ(target.moe.latent.group_size, 4);
    const double share = static_cast<double>(account_of(target).expert_params) /
                         static_cast<double>(account_of(mobe_original()).expert_params);
    EXPECT_LE(share, budget);
    EXPECT_GT(share, budget - 0.4);
  }
}

TEST(Mobe, RefusesWhatCannotBe) {
  const Method& method = method_named("mobe");
  auto plan = [&](auto change) {
    ConvertOptions options = mobe_options("mobe");
    change(options);
    return method.plan(mobe_original(), options);
  };
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.latent.group_size = 8; }), kConfig,
                     "none to mix");
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.latent.group_size = 3; }), kConfig,
                     "does not divide");
  EXPECT_TALPA_ERROR(
      plan([](ConvertOptions& o) { o.latent.group_size = 4, o.latent.latent_dim = 17; }), kConfig,
      "16 wide at most");
  EXPECT_TALPA_ERROR(
      plan([](ConvertOptions& o) { o.latent.group_size = 1, o.latent.latent_dim = 16; }), kConfig,
      "times the dense experts");
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.latent.basis_rank = 2; }), kUsage, "slbf");
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.latent.share_gate_up_latent = true; }), kUsage,
                     "shared latent");
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.group_by = GroupBy::kOverlap; }), kUsage,
                     "groups");
  EXPECT_TALPA_ERROR(plan([](ConvertOptions& o) { o.budget = 0.5; }), kUsage, "not both");
  const LayerExperts experts(0, random_experts({8, 16, 32}, 3));
  ConvertOptions options = mobe_options("mobe", 5);
  options.weighted = true;
  EXPECT_TALPA_ERROR(
      method.fit(experts, method.plan(mobe_original(), options), {.options = options}), kUsage,
      "calibration");
}

TEST(Mobe, AnInterruptedFitEndsAsAnUninterruptedOne) {
  const testing::Scratch scratch;
  const LayerExperts experts(0, random_experts({8, 16, 32}, 4));
  for (const std::string method : {"mobe", "mobe-plus"}) {
    const ConvertOptions options = mobe_options(method, 60);
    const Method& found = method_named(method);
    const DecoderConfig target = found.plan(mobe_original(), options);
    const LayerFit whole = found.fit(experts, target, {.options = options});
    const auto folder = scratch / method;
    std::filesystem::create_directories(folder);
    const LayerFit resumed = interrupted_fit(found, experts, target, options, folder);
    expect_same(whole, resumed);
    // What is finished is only read again.
    FitContext context{.options = options, .scratch = folder};
    context.progress = [](double, const std::string&) { FAIL() << "fitted again"; };
    expect_same(whole, found.fit(experts, target, context));
  }
}

TEST(Mobe, WeightingLowersTheWeightedErrorAndExactOwnsMakeItPay) {
  const LayerExperts::Tensors tensors = random_experts({8, 16, 32}, 5);
  const LayerStatistics fine = random_statistics({8, 16, 32}, 6);
  for (const LayerStatistics& statistics : {fine, coarse(fine)}) {
    const LayerExperts plain(0, tensors), seen(0, tensors, &statistics);
    auto weighted_error = [&](const std::string& method, bool weighted) {
      ConvertOptions options = mobe_options(method, 200);
      options.weighted = weighted;
      const LayerFit fit = fit_layer(method, seen, options);
      double error = 0, norm = 0;
      for (const ProjectionFit& p : fit.projections)
        error += *p.weighted_error / *p.weighted_norm, norm += 1;
      return std::sqrt(error / norm);
    };
    const double plus = weighted_error("mobe-plus", false);
    EXPECT_LT(plus, weighted_error("mobe", true));
    EXPECT_LT(plus, 0.8 * weighted_error("mobe", false));
  }
}

TEST(Mobe, LastLeastSquaresNeverRaisesTheError) {
  for (const bool deficient : {false, true})
    for (int seed = 0; seed < 4; ++seed) {
      MixedBases bases = random_bases(kMobeSizes, BasisActivation::kSilu, seed, torch::kFloat);
      if (deficient) bases.whole_GRD.select(1, 1).copy_(bases.whole_GRD.select(1, 0));
      const BasesMetric metric{.over_columns = random_definite(8, 32, seed),
                               .over_rows = random_definite(8, 16, seed + 1)};
      const at::Tensor near_NMD = product_of(bases) + 0.1 * torch::randn({8, 16, 32});
      StoredBases stored = stored_bases(bases, 1, DType::kBF16);
      auto errors = [&] {
        const at::Tensor formed =
            formed_bases(stored.mix_NG, stored.bases_GRD(), stored.activation);
        const at::Tensor e = (stored.own_NMR.bmm(formed) - near_NMD).to(torch::kDouble);
        return (e * metric.over_rows.bmm(e).bmm(metric.over_columns)).sum({1, 2});
      };
      const at::Tensor before_N = errors();
      EXPECT_GT(refit_own(stored, near_NMD, metric), 0);
      EXPECT_TRUE((errors() <= before_N * (1 + 1e-6)).all().item<bool>());
      const at::Tensor once = stored.own_NMR.clone();
      refit_own(stored, near_NMD, metric);
      EXPECT_LT(relative(stored.own_NMR, once), 1e-4);
    }
}

TEST(Mobe, ConvertedModelEqualsItsMaterialisedForm) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options = mobe_options("mobe-plus", 20);
  options.overwrite = true;
  options.scratch = scratch / "scratch";
  const ConversionReport report = convert_model(original, scratch / "mobe", options);
  EXPECT_GT(report.estimated_seconds, 0);
  EXPECT_EQ(account_of(open_model(scratch / "mobe").config).expert_params,
            report.expert_params_after);
  materialise(open_model(scratch / "mobe"), scratch / "dense", DType::kF32, true);
  EXPECT_LT(largest_difference(logits_of(scratch / "mobe"), logits_of(scratch / "dense")), 1e-5);
}

}  // namespace
}  // namespace talpa::convert
