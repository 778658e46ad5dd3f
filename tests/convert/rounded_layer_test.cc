// N experts, M expert width, D model width, R latent width.
#include "talpa/convert/rounded_layer.h"

#include "fixtures.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/rounding.h"
#include "talpa/convert/stored_bases.h"

namespace talpa::convert {
namespace {

constexpr Sizes kRounded{.experts = 8, .hidden = 64, .width = 96};

ExpertTypes types_of(DType own, DType shared) {
  return {.gate = own, .up = own, .down = own, .shared = shared};
}

LatentConfig latent_of(const std::string& method, const ConvertOptions& options) {
  return method_named(method).plan(config_of(kRounded), options).moe.latent;
}

/// That the bytes stand for the tensors, each in its type.
void expect_encoded(const LayerFit& fit, const EncodedTensors& encoded, const ExpertTypes& types) {
  for (const auto& [name, bytes] : encoded) {
    SCOPED_TRACE(name);
    const at::Tensor& values = fit.tensors.at(name);
    const DType type = type_in_file(type_of_part(types, name), values.size(-1));
    ASSERT_EQ(bytes.size(), bytes_of(type, static_cast<std::uint64_t>(values.numel())));
    at::Tensor decoded = torch::empty(values.sizes());
    to_float(type, bytes.data(), decoded.data_ptr<float>(), values.numel());
    EXPECT_TRUE(torch::equal(decoded, values.to(torch::kFloat)));
  }
}

double weighted_sum(const LayerFit& fit) {
  double error = 0;
  for (const ProjectionFit& projection : fit.projections) error += *projection.weighted_error;
  return error;
}

TEST(RoundedLayer, DenseExpertsErrLessInWhatTheySee) {
  const LayerStatistics statistics = random_statistics(kRounded, 1);
  const auto tensors = random_experts(kRounded, 2);
  const LayerExperts experts(0, tensors, &statistics);
  for (const DType type : {DType::kQ4_0, DType::kQ2_0}) {
    const ExpertTypes types = types_of(type, type);
    LayerFit fit;
    expect_encoded(fit, round_layer(experts, {}, types, fit), types);
    LayerFit blind;
    round_layer(LayerExperts(0, tensors), {}, types, blind);
    blind.projections.clear();
    for (const Side side : kSides) {
      ErrorSum error(side, &statistics);
      for (std::int64_t e = 0; e < kRounded.experts; ++e)
        error.add(e, experts.read(side, e, 1)[0], dense_of(blind, side)[e]);
      blind.projections.push_back(error.result(0));
    }
    EXPECT_LT(weighted_sum(fit), 0.8 * weighted_sum(blind)) << name_of(type);
  }
}

/// What an expert makes of x: down (silu(gate x) * up x), down stored transposed.
at::Tensor output_of(const at::Tensor& gate_MD, const at::Tensor& up_MD, const at::Tensor& down_MD,
                     const at::Tensor& x_TD) {
  return (torch::silu(x_TD.matmul(gate_MD.t())) * x_TD.matmul(up_MD.t())).matmul(down_MD);
}

TEST(RoundedLayer, ExpertsComputeTheSameWhateverTheOrderOfTheirHiddenUnits) {
  const LayerStatistics statistics = random_statistics(kRounded, 5);
  const LayerExperts experts(0, random_experts(kRounded, 6), &statistics);
  LayerFit fit;
  round_layer(experts, {}, types_of(DType::kQ8_0, DType::kQ8_0), fit);
  bool moved = false;
  const at::Tensor x_TD = torch::randn({20, kRounded.width});
  for (std::int64_t e = 0; e < kRounded.experts; ++e) {
    auto read = [&](Side side) { return experts.read(side, e, 1)[0]; };
    auto rounded = [&](Side side) { return dense_of(fit, side)[e]; };
    moved = moved || relative(rounded(Side::kGate), read(Side::kGate)) > 0.1;
    EXPECT_LT(
        relative(output_of(rounded(Side::kGate), rounded(Side::kUp), rounded(Side::kDown), x_TD),
                 output_of(read(Side::kGate), read(Side::kUp), read(Side::kDown), x_TD)),
        0.03);
  }
  EXPECT_TRUE(moved);
}

struct LayerCase {
  const char* method;
  LatentConfig latent;
};

class RoundedFactorsOf : public ::testing::TestWithParam<LayerCase> {};

TEST_P(RoundedFactorsOf, CostLittleAtEightBitsAndAreWhatTheBytesHold) {
  const LayerStatistics statistics = random_statistics(kRounded, 3);
  const LayerExperts experts(0, random_experts(kRounded, 4), &statistics);
  ConvertOptions options{.method = GetParam().method, .latent = GetParam().latent, .steps = 0};
  if (method_named(options.method).is_iterative()) options.steps = 20;
  const LatentConfig latent = latent_of(options.method, options);
  const LayerFit before = fit_layer(options.method, experts, options);
  for (const ExpertTypes& types :
       {types_of(DType::kQ8_0, DType::kQ8_0), types_of(DType::kQ4_0, DType::kQ8_0)}) {
    LayerFit fit = before;
    expect_encoded(fit, round_layer(experts, latent, types, fit), types);
    ASSERT_EQ(fit.projections.size(), 3u);
    const double share = types.gate == DType::kQ8_0 ? 0.001 : 0.02;
    for (std::size_t s = 0; s < before.projections.size(); ++s)
      EXPECT_LT(*fit.projections[s].weighted_error - *before.projections[s].weighted_error,
                share * *before.projections[s].weighted_norm)
          << s;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, RoundedFactorsOf,
    ::testing::Values(
        LayerCase{"svd-whitened", {.latent_dim = 32, .group_size = 4, .factor_down = true}},
        LayerCase{"svd-whitened",
                  {.latent_dim = 32, .factor_down = true, .share_gate_up_latent = true}},
        LayerCase{"tucker2", {.latent_dim = 32}},
        LayerCase{"mobe-plus", {.latent_dim = 32, .group_size = 4, .factor_down = true}},
        LayerCase{"slbf-plus",
                  {.latent_dim = 64, .group_size = 4, .factor_down = true, .basis_rank = 32}}));

TEST(RoundedLayer, RemovedExpertsCountAsLost) {
  const LayerStatistics statistics = random_statistics(kRounded, 5);
  const LayerExperts experts(0, random_experts(kRounded, 6), &statistics);
  LayerFit fit = fit_layer("prune", experts, {.method = "prune", .num_experts = 6});
  const LayerFit before = fit;
  const ExpertTypes types = types_of(DType::kQ8_0, DType::kQ8_0);
  expect_encoded(fit, round_layer(experts, {}, types, fit), types);
  for (std::size_t s = 0; s < 3; ++s) {
    EXPECT_GT(fit.projections[s].squared_error, before.projections[s].squared_error);
    EXPECT_LT(fit.projections[s].squared_error, 1.01 * before.projections[s].squared_error);
  }
  EXPECT_EQ(fit.tensors.at("gate").size(0), 6);
}

/// Experts in another order are rounded in their own moments.
TEST(RoundedLayer, MomentsFollowExpertsThatWereRenumbered) {
  LayerStatistics statistics = random_statistics(kRounded, 7);
  const auto tensors = random_experts(kRounded, 8);
  const LayerExperts experts(0, tensors, &statistics);
  ConvertOptions options{.method = "svd-whitened", .latent = {.latent_dim = 32, .group_size = 4}};
  options.latent.factor_down = true;
  options.group_by = GroupBy::kOverlap;
  LayerFit fit = fit_layer("svd-whitened", experts, options);
  ASSERT_FALSE(fit.order.empty());
  const ExpertTypes types = types_of(DType::kQ2_0, DType::kQ8_0);
  const LatentConfig latent = latent_of("svd-whitened", options);
  LayerFit shuffled = fit;
  round_layer(experts, latent, types, fit);
  std::reverse(shuffled.order.begin(), shuffled.order.end());
  round_layer(experts, latent, types, shuffled);
  EXPECT_LT(2 * weighted_sum(fit), weighted_sum(shuffled));
}

TEST(ExpertBytesInFile, AreThoseOfTheSpecs) {
  DecoderConfig config = config_of(kRounded);
  const GgufTypes types = {.dtype = DType::kF16, .experts = {types_of(DType::kQ4_0, DType::kQ8_0)}};
  EXPECT_EQ(expert_bytes_in_file(config, types), 8 * 3 * 64 * 96 / 32 * 18);
  // Widths that are no whole blocks stay in 16 bits.
  config.moe.hidden_dim = 48;
  EXPECT_EQ(expert_bytes_in_file(config, types), 8 * 48 * 96 * (2 * 18 / 32.0 + 2));
}

}  // namespace
}  // namespace talpa::convert
