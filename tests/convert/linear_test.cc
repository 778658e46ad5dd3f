// N experts, M expert width, D model width, R latent width.
#include "talpa/convert/linear.h"

#include <chrono>
#include <cmath>

#include "fixtures.h"
#include "talpa/convert/group_by.h"

namespace talpa::convert {
namespace {

constexpr Sizes kStack{.experts = 8, .hidden = 12, .width = 40};

ConvertOptions options_for(const std::string& method, int group_size, int rank) {
  ConvertOptions options{.method = method, .dtype = DType::kF32};
  options.latent.group_size = group_size;
  options.latent.latent_dim = rank;
  options.latent.factor_down = true;
  return options;
}

/// A_i B_g of groups of `group_size`; `right` is drawn if undefined.
at::Tensor factorable(std::int64_t group_size, std::int64_t rank, at::Tensor right_GRD = {}) {
  const std::int64_t groups = kStack.experts / group_size;
  if (!right_GRD.defined()) right_GRD = torch::randn({groups, rank, kStack.width});
  return torch::randn({kStack.experts, kStack.hidden, rank})
      .matmul(right_GRD.repeat_interleave(group_size, 0));
}

void expect_exact(const std::string& method, const LayerExperts::Tensors& tensors,
                  const ConvertOptions& options) {
  const LayerStatistics fine = random_statistics(kStack, 20);
  const LayerStatistics rough = coarse(fine);
  for (const LayerStatistics* statistics :
       {&fine, &rough, static_cast<const LayerStatistics*>(nullptr)}) {
    if (statistics == nullptr && method_named(method).needs_statistics()) continue;
    const LayerExperts experts(0, tensors, statistics);
    const LayerFit fit = fit_layer(method, experts, options);
    for (const Side side : kSides)
      EXPECT_LT(relative(dense_of(fit, side), experts.read(side)), 1e-6)
          << method << ' ' << enum_name(side);
    for (const ProjectionFit& row : fit.projections) {
      EXPECT_LT(row.squared_error, 1e-11 * row.squared_norm) << method;
      EXPECT_EQ(row.weighted_error.has_value(), statistics != nullptr);
      if (row.weighted_error) {
        EXPECT_LT(*row.weighted_error, 1e-11 * *row.weighted_norm) << method;
      }
    }
  }
}

TEST(Linear, ExactlyFactorableLayersComeBack) {
  torch::manual_seed(21);
  const LayerExperts::Tensors tensors{factorable(4, 5), factorable(4, 5), factorable(4, 5),
                                      torch::randn({kStack.experts, kStack.width})};
  for (const char* method : {"svd", "svd-whitened"})
    expect_exact(method, tensors, options_for(method, 4, 5));
}

TEST(Linear, ExactlySharedLatentsComeBack) {
  torch::manual_seed(22);
  const at::Tensor shared_GRD = torch::randn({1, 6, kStack.width});
  const LayerExperts::Tensors tensors{factorable(8, 6, shared_GRD), factorable(8, 6, shared_GRD),
                                      factorable(8, 6),
                                      torch::randn({kStack.experts, kStack.width})};
  expect_exact("tucker2", tensors, options_for("tucker2", 0, 6));
}

TEST(Linear, ErrorsAreThoseOfTheStoredTensors) {
  const LayerStatistics statistics = random_statistics(kStack, 23);
  const LayerExperts experts(0, random_experts(kStack, 24), &statistics);
  for (const char* method : {"svd", "svd-whitened"}) {
    const LayerFit fit = fit_layer(method, experts, options_for(method, 2, 7));
    ASSERT_EQ(fit.projections.size(), 3u);
    for (const ProjectionFit& row : fit.projections) {
      const at::Tensor all_NMD = experts.read(row.side);
      const double error = (dense_of(fit, row.side) - all_NMD).square().sum().item<double>();
      EXPECT_NEAR(row.squared_error, error, 1e-5 * row.squared_norm) << method;
      EXPECT_NEAR(row.squared_norm, all_NMD.square().sum().item<double>(), 1e-6 * row.squared_norm);
    }
  }
}

/// Experts 0 and 2, 1 and 3, ... of a common right factor: the wrong groups by number.
LayerExperts::Tensors interleaved() {
  torch::manual_seed(25);
  auto stack = [] {
    const at::Tensor right_GRD = torch::randn({2, 5, kStack.width});
    return torch::randn({kStack.experts, kStack.hidden, 5})
        .matmul(right_GRD.repeat({kStack.experts / 2, 1, 1}));
  };
  return {stack(), stack(), stack(), torch::randn({kStack.experts, kStack.width})};
}

TEST(Grouping, FindsExpertsThatSpanTheSameSpace) {
  const LayerExperts experts(0, interleaved());
  ConvertOptions options = options_for("svd", 4, 5);
  const LayerFit by_number = fit_layer("svd", experts, options);
  EXPECT_GT(by_number.projections[0].squared_error, 0.1 * by_number.projections[0].squared_norm);
  EXPECT_FALSE(by_number.tensors.contains("router"));
  options.group_by = GroupBy::kOverlap;
  const LayerFit by_overlap = fit_layer("svd", experts, options);
  for (const ProjectionFit& row : by_overlap.projections)
    EXPECT_LT(row.squared_error, 1e-11 * row.squared_norm);
  const at::Tensor order_N = torch::tensor({0, 2, 4, 6, 1, 3, 5, 7}, torch::kLong);
  EXPECT_TRUE(by_overlap.tensors.at("router").equal(experts.router().index_select(0, order_N)));
  EXPECT_LT(
      relative(dense_of(by_overlap, Side::kUp), experts.read(Side::kUp).index_select(0, order_N)),
      1e-6);
}

TEST(Grouping, StatisticsFollowTheirExperts) {
  const LayerStatistics statistics = random_statistics(kStack, 26);
  const LayerExperts experts(0, interleaved(), &statistics);
  ConvertOptions options = options_for("svd-whitened", 4, 4);
  options.group_by = GroupBy::kOverlap;
  const LayerFit fit = fit_layer("svd-whitened", experts, options);
  const at::Tensor order_N = torch::tensor({0, 2, 4, 6, 1, 3, 5, 7}, torch::kLong);
  const at::Tensor rest_NMD =
      (experts.read(Side::kGate).index_select(0, order_N) - dense_of(fit, Side::kGate))
          .to(torch::kDouble);
  const at::Tensor moment_NDD = statistics.input_moments.index_select(0, order_N);
  const at::Tensor effect_NM =
      (statistics.gate_effect_NM / statistics.mass2_N.unsqueeze(1)).index_select(0, order_N);
  const at::Tensor error_NM = (rest_NMD.matmul(moment_NDD) * rest_NMD).sum(2);
  const double error = (error_NM * effect_NM).sum().item<double>();
  EXPECT_NEAR(*fit.projections[0].weighted_error, error, 1e-4 * error);
}

TEST(Grouping, NoLayerIsFittedWorseByExchanges) {
  torch::manual_seed(27);
  const at::Tensor points = torch::randn({12, 3}, torch::kDouble);
  const at::Tensor overlap_NN = points.matmul(points.t()).abs();
  const auto order = balanced_groups(overlap_NN, 3);
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t e = 0; e < 12; ++e) EXPECT_EQ(sorted[e], e);
  auto within = [&](const std::vector<std::int64_t>& groups) {
    double sum = 0;
    for (std::size_t i = 0; i < 12; ++i)
      for (std::size_t j = 0; j < 12; ++j)
        if (i != j && i / 3 == j / 3) sum += overlap_NN[groups[i]][groups[j]].item<double>();
    return sum;
  };
  const double best = within(order);
  for (std::size_t i = 0; i < 12; ++i)
    for (std::size_t j = 0; j < i; ++j) {
      std::vector<std::int64_t> other = order;
      std::swap(other[i], other[j]);
      EXPECT_LE(within(other), best * (1 + 1e-9));
    }
}

/// A model whose experts were reordered, at full latent width, computes what it did.
TEST(Grouping, ReorderingLeavesTheModelUnchanged) {
  nn::Decoder original(small_moe());
  original.initialise(28);
  DecoderConfig target = small_moe();
  target.origin = target.family;
  target.family = Family::kTalpa;
  target.moe.latent = {.latent_dim = 32, .group_size = 2, .factor_down = false};
  nn::Decoder converted(target);
  bool moved = false;
  for (auto& [name, tensor] : converted.parameters())
    if (original.parameters().contains(name)) tensor = original.parameters().at(name);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = fmt::format("layers.{}.moe.", layer);
    auto at = [&](const char* name) { return original.parameters().at(prefix + name); };
    const LayerExperts experts(
        layer, {at("gate"), at("up"), at("down").transpose(1, 2).contiguous(), at("router")});
    const ConvertOptions options{.group_by = GroupBy::kOverlap, .dtype = DType::kF32};
    const LayerFit fit = method_named("svd").fit(experts, target, {.options = options});
    moved = moved || fit.tensors.contains("router");
    for (const auto& [name, tensor] : fit.tensors)
      converted.parameters().at(prefix + name) = tensor;
  }
  EXPECT_TRUE(moved);
  const at::Tensor logits = logits_of(original);
  EXPECT_LT(largest_difference(logits_of(converted), logits),
            1e-5 * logits.abs().max().item<double>());
}

TEST(Linear, RefusesWhatDoesNotFit) {
  const DecoderConfig original = config_of(kStack);
  auto plan = [&](const ConvertOptions& options) {
    return method_named(options.method).plan(original, options);
  };
  EXPECT_TALPA_ERROR(plan(options_for("svd", 3, 4)), kConfig, "does not divide");
  EXPECT_TALPA_ERROR(plan(options_for("svd", 1, 12)), kConfig, "times the dense experts");
  EXPECT_TALPA_ERROR(plan(options_for("tucker2", 4, 4)), kUsage, "one group of all 8");
  ConvertOptions options = options_for("svd", 4, 4);
  options.latent.mixed = true;
  EXPECT_TALPA_ERROR(plan(options), kUnsupported, "linear latents");
  options = options_for("svd", 4, 4);
  options.reduce_rank = -1;
  EXPECT_TALPA_ERROR(plan(options), kConfig, "negative");
  LayerStatistics few = random_statistics(kStack, 29, 4);
  const LayerExperts experts(5, random_experts(kStack, 30), &few);
  EXPECT_TALPA_ERROR(fit_layer("svd-whitened", experts, options_for("svd-whitened", 4, 4)), kUsage,
                     "layer 5 saw 32 rows");
}

TEST(Linear, EstimatesItsTime) {
  constexpr Sizes kLarge{.experts = 16, .hidden = 96, .width = 320};
  const LayerExperts experts(0, random_experts(kLarge, 31));
  const DecoderConfig original = config_of(kLarge);
  const ConvertOptions options = options_for("svd", 2, 32);
  const Method& svd = method_named("svd");
  const DecoderConfig target = svd.plan(original, options);
  svd.fit(experts, target, {.options = options});  // what is only slow the first time
  double best = 10;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const double estimate = svd.estimate_seconds(experts, target, {.options = options});
    const auto start = std::chrono::steady_clock::now();
    svd.fit(experts, target, {.options = options});
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::min(best, std::abs(std::log(estimate / taken.count())));
  }
  // Of five attempts on a machine that others use too.
  EXPECT_LT(best, std::log(1.25));
}

}  // namespace
}  // namespace talpa::convert
