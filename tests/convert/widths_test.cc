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

double lost(const std::vector<at::Tensor>& spectra, const std::vector<int>& widths) {
  double sum = 0;
  for (std::size_t i = 0; i < spectra.size(); ++i)
    sum += spectra[i].slice(0, widths[i]).sum().item<double>();
  return sum;
}

TEST(WidthsBySpectrum, LoseLeastOfAllWithinTheTotal) {
  const std::vector<at::Tensor> spectra = {falling(32, 1), falling(32, 2), falling(32, 3)};
  for (const int total : {24, 40, 56, 90, 96}) {
    const auto widths = widths_by_spectrum(spectra, total, 8);
    EXPECT_LE(std::accumulate(widths.begin(), widths.end(), 0), total);
    double best = 1e9;
    for (int a = 8; a <= 32; a += 8)
      for (int b = 8; b <= 32; b += 8)
        for (int c = 8; c <= 32; c += 8)
          if (a + b + c <= total) best = std::min(best, lost(spectra, {a, b, c}));
    EXPECT_NEAR(lost(spectra, widths), best, 1e-9) << total;
  }
}

TEST(WidthsBySpectrum, LayersWithoutExpertsHaveNone) {
  const auto widths = widths_by_spectrum({falling(16, 1), {}, falling(16, 2)}, 24, 8);
  EXPECT_EQ(widths[1], 0);
  EXPECT_EQ(widths[0] + widths[2], 24);
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
  const Method& closed = method_named("svd-whitened");
  linear.moe.latent = {.latent_dim = 8, .group_size = 1, .factor_up = false};
  const at::Tensor gate_D = closed.spectrum(experts, linear, context);
  linear.moe.latent.factor_gate = false;
  linear.moe.latent.factor_down = true;
  const at::Tensor down_D = closed.spectrum(experts, linear, context);
  const at::Tensor spectrum_D = bases.spectrum(experts, target, context);
  const at::Tensor expected_D =
      left_of(gate_D).pow(1.5) * gate_D.sum() + left_of(down_D).pow(1.5) * down_D.sum();
  EXPECT_NEAR((spectrum_D.sum() / (gate_D.sum() + down_D.sum())).item<double>(), 1, 1e-9);
  EXPECT_TRUE(torch::allclose(left_of(spectrum_D) * spectrum_D.sum(), expected_D, 0, 1e-7));
}

TEST(WidthBudget, LowRankBasesTakeWhatTheirWidthsStandFor) {
  DecoderConfig original = config_of({16, 48, 64});
  original.num_layers = 3;
  original.moe.dense_layers = {1};
  for (const double budget : {0.4, 0.6, 0.8}) {
    const ConvertOptions options{
        .method = "slbf", .latent = {.factor_down = true}, .budget = budget};
    const Method& method = method_named("slbf");
    DecoderConfig target = method.plan(original, options);
    target.moe.latent = WidthBudget(original, target, options)
                            .give({falling(64, 1), {}, falling(64, 2)}, method, options);
    target.validate("");
    const LatentConfig& latent = target.moe.latent;
    EXPECT_EQ(latent.latent_dims[1], 0);
    EXPECT_EQ(latent.basis_ranks[1], 0);
    EXPECT_NE(latent.basis_ranks[0], latent.basis_ranks[2]);
    const auto kept = static_cast<double>(account_of(target).expert_params) /
                      static_cast<double>(account_of(original).expert_params);
    EXPECT_LE(kept, budget);
    EXPECT_GT(kept, budget - 0.04);
  }
}

}  // namespace
}  // namespace talpa::convert
