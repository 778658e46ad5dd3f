#include "talpa/convert/widths.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
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
      {falling(32, 1), 1, 8, 32}, {falling(32, 2), 1, 8, 32}, {falling(32, 3), 1, 8, 24}};
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
  const std::vector<WidthItem> items = {{falling(64, 1), 3, 8, 64}, {falling(64, 1), 1, 8, 64}};
  const auto widths = widths_by_spectrum(items, 120, 8);
  EXPECT_LT(widths[0], widths[1]);
  EXPECT_LE(3 * widths[0] + widths[1], 120);
  EXPECT_GT(3 * widths[0] + widths[1], 120 - 24);
}

TEST(WidthsBySpectrum, GiveWhatIsLeastAndRefuseWhatIsNotFinite) {
  std::vector<WidthItem> items = {{falling(64, 9), 1, 8, 64}, {torch::zeros({64}), 1, 24, 64}};
  EXPECT_EQ(widths_by_spectrum(items, 64, 8), (std::vector<int>{40, 24}));
  items[0].spectrum_D[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TALPA_ERROR(widths_by_spectrum(items, 64, 8), kFormat, "not finite");
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

/// Two MoE layers and a dense one between them.
DecoderConfig three_layers(const Sizes& sizes) {
  DecoderConfig original = config_of(sizes);
  original.num_layers = 3;
  original.moe.dense_layers = {1};
  return original;
}

TEST(WidthBudget, LowRankBasesTakeWhatTheirWidthsStandFor) {
  const DecoderConfig original = three_layers({16, 48, 64});
  for (const double budget : {0.4, 0.6, 0.8}) {
    const ConvertOptions options{
        .method = "slbf", .latent = {.factor_down = true}, .budget = budget};
    const Method& method = method_named("slbf");
    const DecoderConfig target = method.plan(original, options);
    const WidthBudget widths(original, target, method, options);
    for (const bool apart : {false, true}) {
      DecoderConfig result = target;
      result.moe.latent = widths.give(
          {{falling(64, 1), falling(64, 4), apart}, {}, {falling(64, 2), falling(64, 3), apart}});
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

struct BudgetCase {
  std::string method;
  LatentConfig latent;
  double budget = 0, bits = 0;
  std::optional<DType> type = std::nullopt;  ///< of a GGUF
  bool apart = true;
};
class WidthBudgets : public ::testing::TestWithParam<BudgetCase> {};

/// What sizes by layer take is what was asked for, and nearly all of it, whatever it is counted in.
TEST_P(WidthBudgets, AreKeptAndUsed) {
  const BudgetCase& asked = GetParam();
  const DecoderConfig original = three_layers({16, 64, 128});
  ConvertOptions options{.method = asked.method,
                         .latent = asked.latent,
                         .budget = asked.budget,
                         .bits = asked.bits,
                         .allocate = true};
  if (asked.type)
    options.gguf = {.dtype = *asked.type,
                    .experts = {{*asked.type, *asked.type, *asked.type, DType::kQ8_0}}};
  const Method& method = method_named(asked.method);
  const DecoderConfig target = method.plan(original, options);
  auto taken_by = [&](const DecoderConfig& config) {
    return asked.budget == 0 && asked.type
               ? static_cast<double>(expert_bytes_in_file(config, *options.gguf))
               : static_cast<double>(account_of(config).expert_params);
  };
  double most = taken_by(target);
  if (asked.budget > 0) most = asked.budget * taken_by(original);
  if (asked.bits > 0)
    most = asked.bits / 8 * static_cast<double>(account_of(original).expert_params);
  const at::Tensor nothing = torch::zeros({128}, torch::kDouble);
  for (const bool flat : {false, true}) {  // where one layer needs nothing, it gets least
    auto spectra_of = [&](int seed) {
      LayerSpectra layer{.apart = asked.apart};
      const at::Tensor in_D = flat && seed == 1 ? nothing : falling(128, seed);
      if (target.moe.latent.factor_gate || target.moe.latent.factor_up) layer.in_D = in_D;
      if (target.moe.latent.factor_down) layer.out_D = flat ? nothing : falling(128, seed + 2);
      return layer;
    };
    DecoderConfig result = target;
    result.moe.latent =
        WidthBudget(original, target, method, options).give({spectra_of(1), {}, spectra_of(2)});
    result.validate("");
    EXPECT_LE(taken_by(result), most) << config_to_json(result.moe.latent).dump();
    if (!flat) {
      EXPECT_GT(taken_by(result), 0.9 * most) << config_to_json(result.moe.latent).dump();
    }
    if (flat && asked.apart && target.moe.latent.factor_gate) {
      EXPECT_LE(result.moe.latent.latent_dims[0], result.moe.latent.latent_dims[2]);
    }
  }
}

constexpr LatentConfig kGateOnly{.factor_up = false};
constexpr LatentConfig kDownOnly{.factor_gate = false, .factor_up = false, .factor_down = true};
INSTANTIATE_TEST_SUITE_P(
    Cases, WidthBudgets,
    ::testing::Values(BudgetCase{"svd", {}, 0.7},
                      BudgetCase{"svd", {.factor_down = true}, 0.4, 0, {}, /*apart=*/false},
                      BudgetCase{"svd", {.latent_dim = 40}}, BudgetCase{"svd", kGateOnly, 0.8},
                      BudgetCase{"svd", kDownOnly, 0.8},
                      BudgetCase{"svd", {.factor_down = true}, 0.6, 0, DType::kQ4_0},
                      BudgetCase{
                          "svd", {.latent_dim = 64, .factor_down = true}, 0, 0, DType::kQ8_0},
                      BudgetCase{"svd", {.factor_down = true}, 0, 3, DType::kQ4_0},
                      BudgetCase{"svd", {.group_size = 4}, 0, 4, DType::kQ3_0},
                      BudgetCase{"tucker2", {}, 0, 2.5, DType::kQ4_0},
                      BudgetCase{"mobe", {.group_size = 4, .factor_down = true}, 0.6},
                      BudgetCase{"mobe", {.latent_dim = 32, .group_size = 4}, 0, 0, DType::kQ8_0},
                      BudgetCase{"slbf", {.factor_down = true}, 0.6, 0, DType::kQ8_0},
                      BudgetCase{"slbf", kGateOnly, 0.85}, BudgetCase{"slbf", kDownOnly, 0.75},
                      BudgetCase{"slbf", kDownOnly, 0.71},
                      BudgetCase{"slbf-plus", {.factor_down = true}, 0.15}),
    [](const auto& info) { return fmt::format("case_{}", info.index); });

TEST(WidthBudget, RefusesWhatItCannotGive) {
  const DecoderConfig original = three_layers({16, 64, 128});
  auto refusal = [&](const ConvertOptions& options) {
    const Method& method = method_named(options.method);
    WidthBudget(original, method.plan(original, options), method, options);
  };
  EXPECT_TALPA_ERROR(
      refusal({.method = "slbf", .latent = {.factor_down = true, .basis_rank = 8}, .budget = 0.6}),
      kUsage, "give a budget alone");
  EXPECT_TALPA_ERROR(refusal({.method = "slbf", .latent = {.latent_dim = 32, .basis_rank = 8}}),
                     kUsage, "give a budget alone");
  EXPECT_TALPA_ERROR(refusal({.latent = {.latent_dim = 4}}), kConfig, "layers need");
}

}  // namespace
}  // namespace talpa::convert
