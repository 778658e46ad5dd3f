#include "talpa/convert/widths.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <numeric>

#include "fixtures.h"
#include "talpa/model/accounting.h"

namespace talpa::convert {
namespace {

/// Descending, with a fall-off of its own.
at::Tensor falling(std::int64_t width, int seed) {
  torch::manual_seed(seed);
  const double rate = 0.02 + 0.3 * torch::rand({}).item<double>();
  return torch::exp(-torch::arange(width, torch::kDouble) * rate) * (1 + 9 * seed);
}

double lost(const std::vector<WidthItem>& items, const std::vector<int>& widths) {
  double sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i)
    sum += items[i].spectrum_D.slice(0, widths[i]).sum().item<double>();
  return sum;
}

TEST(WidthsBySpectrum, LoseLeastOfAllWithinTheBudget) {
  const std::vector<WidthItem> items = {
      {falling(32, 1), 1, 32}, {falling(32, 2), 1, 32}, {falling(32, 3), 1, 24}};
  for (const int budget : {24, 40, 56, 88}) {
    const auto widths = widths_by_spectrum(items, budget, 8);
    EXPECT_LE(std::accumulate(widths.begin(), widths.end(), 0), budget);
    double best = 1e9;
    for (int a = 8; a <= 32; a += 8)
      for (int b = 8; b <= 32; b += 8)
        for (int c = 8; c <= 24; c += 8)
          if (a + b + c <= budget) best = std::min(best, lost(items, {a, b, c}));
    EXPECT_NEAR(lost(items, widths), best, 1e-9) << budget;
  }
}

TEST(WidthsBySpectrum, GoWhereTheyTakeLess) {
  const std::vector<WidthItem> items = {{falling(64, 1), 3, 64}, {falling(64, 1), 1, 64}};
  const auto widths = widths_by_spectrum(items, 120, 8);
  EXPECT_LT(widths[0], widths[1]);
  EXPECT_LE(3 * widths[0] + widths[1], 120);
  EXPECT_GT(3 * widths[0] + widths[1], 120 - 24);
}

/// What is left of a spectrum behind each width, as a share of the whole.
at::Tensor left_of(const at::Tensor& spectrum_D) {
  return (1 - spectrum_D.cumsum(0) / spectrum_D.sum()).clamp_min(0);
}

TEST(BasesSpectrum, LeavesTheLinearShareToAPower) {
  const Sizes sizes;
  const LayerStatistics statistics = random_statistics(sizes, 3);
  const LayerExperts experts(0, random_experts(sizes, 5), &statistics);
  ConvertOptions options{.latent = {.factor_up = false, .factor_down = true}, .budget = 0.7};
  const FitContext context{.options = options};
  const Method& bases = method_named("slbf-plus");
  const DecoderConfig target = bases.plan(config_of(sizes), options);
  DecoderConfig linear = target;
  linear.moe.latent = {.latent_dim = 8, .group_size = 1, .factor_up = false, .factor_down = true};
  const LayerSpectra closed = method_named("svd-whitened").spectra(experts, linear, context);
  const LayerSpectra spectra = bases.spectra(experts, target, context);
  EXPECT_TRUE(spectra.apart);
  for (const auto& [got_D, expected_D] :
       {std::pair{spectra.in_D, closed.in_D}, std::pair{spectra.out_D, closed.out_D}}) {
    EXPECT_NEAR((got_D.sum() / expected_D.sum()).item<double>(), 1, 1e-9);
    EXPECT_TRUE(torch::allclose(left_of(got_D), left_of(expected_D).pow(1.5), 0, 1e-7));
  }
}

TEST(WidthBudget, LowRankBasesTakeWhatTheirWidthsStandFor) {
  DecoderConfig original = config_of({16, 48, 64});
  original.num_layers = 3;
  original.moe.dense_layers = {1};
  for (const double budget : {0.4, 0.6, 0.8}) {
    const ConvertOptions options{
        .method = "slbf", .latent = {.factor_down = true}, .budget = budget};
    const Method& method = method_named("slbf");
    const DecoderConfig target = method.plan(original, options);
    const WidthBudget widths(original, target, options);
    for (const bool apart : {false, true}) {
      DecoderConfig result = target;
      result.moe.latent = widths.give(
          {{falling(64, 1), falling(64, 4), apart}, {}, {falling(64, 2), falling(64, 3), apart}},
          method, options);
      result.validate("");
      const LatentConfig& latent = result.moe.latent;
      EXPECT_EQ(latent.down_latent_dims.empty(), !apart);
      EXPECT_EQ(latent.down_basis_ranks.empty(), !apart);
      EXPECT_EQ(latent.latent_dims[1], 0);
      EXPECT_EQ(latent.basis_ranks[1], 0);
      EXPECT_NE(latent.basis_ranks[0], latent.basis_ranks[2]);
      const auto kept = static_cast<double>(account_of(result).expert_params) /
                        static_cast<double>(account_of(original).expert_params);
      EXPECT_LE(kept, budget);
      EXPECT_GT(kept, budget - 0.06);
    }
  }
}

}  // namespace
}  // namespace talpa::convert
