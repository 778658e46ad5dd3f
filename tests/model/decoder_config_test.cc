#include "talpa/model/decoder_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/configs.h"
#include "talpa/model/basis_pivots.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

using talpa::testing::config_of;

struct BadSetting {
  const char* assignment;
  const char* message;
};

class DecoderConfigValidate : public ::testing::TestWithParam<BadSetting> {};

TEST_P(DecoderConfigValidate, NamesTheSetting) {
  Json json = config_to_json(config_of(Family::kTalpa));
  apply_setting(json, GetParam().assignment);
  EXPECT_TALPA_ERROR(config_from<DecoderConfig>(json, "model"), kConfig, GetParam().message);
}

const BadSetting kBad[] = {
    {"vocab_size=0", "model.vocab_size = 0 is outside 1 to"},
    {"dim=-4", "model.dim = -4 is outside 1 to"},
    {"num_layers=2000000000", "model.num_layers = 2000000000 is outside 1 to 1024"},
    {"num_layers=99999999999", "model.num_layers: expected an integer that fits"},
    {"norm_eps=-1.0", "model.norm_eps = -1 is outside 0 to 1"},
    {"norm_eps=nan", "model.norm_eps = nan is outside"},
    {"attention.num_kv_heads=3", "model.attention.num_heads = 4 is no multiple of"},
    {"attention.head_dim=15", "model.attention.head_dim = 15 is odd"},
    {"attention.rope_theta=0.0", "model.attention.rope_theta = 0 is not positive"},
    {"moe.top_k=9", "model.moe.top_k = 9 exceeds model.moe.num_experts = 8"},
    {"moe.hidden_dim=0", "model.moe.hidden_dim = 0 is outside"},
    {"moe.num_experts=60000000", "model.moe.num_experts = 60000000 is outside"},
    {"moe.shared_gate=true", "model.moe.shared_gate = true needs"},
    {"moe.dense_layers=[2, 1]", "model.moe.dense_layers = 1 is not in increasing order"},
    {"moe.dense_layers=[3]", "model.moe.dense_layers = 3 is outside 0 to 2"},
    {"moe.dense_layers=[1]", "model.ffn_dim = 0 is outside 1 to"},
    {"moe.latent.group_size=3", "model.moe.latent.group_size = 3 does not divide"},
    {"moe.latent.basis_activation=\"silu\"", "needs mixed = true"},
    {"moe.latent.basis_rank=4", "model.moe.latent.basis_rank = 4 needs mixed = true"},
    {"moe.latent.basis_rank=-4", "model.moe.latent.basis_rank = -4 is outside"},
    {"moe.latent.latent_dim=-1", "model.moe.latent.latent_dim = -1 is outside"},
    {"moe.latent.ranks=4", "unknown setting model.moe.latent.ranks"}};
INSTANTIATE_TEST_SUITE_P(Settings, DecoderConfigValidate, ::testing::ValuesIn(kBad));

TEST(DecoderConfigTest, LatentOptionsMustFitTogether) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.moe.latent = {.latent_dim = 8, .factor_up = false, .share_gate_up_latent = true};
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "needs factor_gate and factor_up");
  config.moe.latent = {.latent_dim = 8, .factor_gate = false, .factor_up = false};
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "factors nothing");
  config.moe = {};
  config.ffn_dim = 8;
  config.moe.latent.latent_dim = 8;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "needs moe.num_experts > 0");
}

TEST(DecoderConfigTest, WidthsByLayerAreOneEachAndAtMostTheLatentWidth) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.moe.latent = {.latent_dim = 8};
  auto expect_refused = [&](std::vector<int> widths, const char* why) {
    config.moe.latent.latent_dims = std::move(widths);
    EXPECT_TALPA_ERROR(config.validate("m"), kConfig, why);
  };
  const auto layers = static_cast<std::size_t>(config.num_layers);
  std::vector<int> widths(layers, 4);
  expect_refused(widths, "is not the largest of m.moe.latent.latent_dims, 4");
  widths.front() = 8;
  config.moe.latent.latent_dims = widths;
  config.validate("m");
  EXPECT_EQ(config.moe.latent.of_layer(0).latent_dim, 8);
  EXPECT_EQ(config.moe.latent.of_layer(1), (LatentConfig{.latent_dim = 4}));
  config.moe.latent.latent_dim = 0;
  expect_refused(widths, "latent_dim = 0 is not the largest of m.moe.latent.latent_dims, 8");
  config.moe.latent.latent_dim = 8;
  widths.back() = 0;
  expect_refused(widths, "outside 1 to");
  expect_refused(std::vector<int>(layers + 1, 8), "is not one number for each of m.num_layers");
}

TEST(DecoderConfigTest, RanksByLayerAreBelowTheLayersWidth) {
  DecoderConfig config = config_of(Family::kTalpa);
  LatentConfig& latent = config.moe.latent;
  latent = {.latent_dim = 16, .group_size = 1, .mixed = true, .basis_rank = 12};
  const auto layers = static_cast<std::size_t>(config.num_layers);
  latent.latent_dims.assign(layers, 16);
  latent.basis_ranks.assign(layers, 4);
  latent.latent_dims.front() = 8;
  latent.basis_ranks.back() = 12;
  config.validate("m");
  EXPECT_EQ(latent.of_layer(0).basis_rank, 4);
  EXPECT_EQ(latent.of_layer(0).latent_dim, 8);
  latent.basis_ranks.front() = 8;
  EXPECT_TALPA_ERROR(
      config.validate("m"), kConfig,
      "m.moe.latent.basis_ranks[0] = 8 is not below m.moe.latent.latent_dims[0] = 8");
  latent.basis_ranks.front() = 0;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "m.moe.latent.basis_ranks[0] = 0");
  latent.basis_ranks.front() = 4;
  latent.basis_rank = 13;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "basis_rank = 13 is not the largest of");
  latent.basis_rank = 12;
  latent.mixed = false;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "needs mixed = true");
}

TEST(DecoderConfigTest, DownMayHaveSizesOfItsOwn) {
  DecoderConfig config = config_of(Family::kTalpa);
  LatentConfig& latent = config.moe.latent;
  latent = {.latent_dim = 16, .factor_down = true, .down_latent_dim = 8};
  config.validate("m");
  const auto shape_of = [&](const std::string& name) {
    for (const WeightSpec& spec : weight_specs(config))
      if (spec.name == name) return spec.shape;
    return Shape{};
  };
  const std::string layer = "layers." + std::to_string(config.num_layers - 1) + ".moe.";
  EXPECT_EQ(shape_of(layer + "gate").back(), 16);
  EXPECT_EQ(shape_of(layer + "down")[1], 8);
  EXPECT_EQ(shape_of(layer + "down_out").back(), 8);
  latent.factor_down = false;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig,
                     "m.moe.latent.down_latent_dim = 8 needs factor_down = true");
  latent = {.factor_down = true, .down_latent_dim = 8};
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig, "and latent_dim > 0");
  latent = {
      .latent_dim = 16, .group_size = 1, .factor_down = true, .mixed = true, .down_basis_rank = 4};
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig,
                     "down_basis_rank = 4 needs factor_down = true and basis_rank > 0");
  latent.basis_rank = 12;
  config.validate("m");
  EXPECT_EQ(latent.output_size().rank, 4);
  EXPECT_EQ(latent.output_size().width, 16);
  latent.down_latent_dim = 4;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig,
                     "down_basis_rank = 4 is not below m.moe.latent.down_latent_dim = 4");
}

TEST(DecoderConfigTest, LowRankBasesAreNarrowerThanFullOnes) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.moe.latent = {
      .latent_dim = config.moe.hidden_dim, .group_size = 1, .mixed = true, .basis_rank = 23};
  config.validate("m");
  config.moe.latent.basis_rank = 24;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig,
                     "m.moe.latent.basis_rank = 24 is not below m.moe.latent.latent_dim = 24");
  config.moe.latent.latent_dim = 100;
  config.moe.latent.basis_rank = 48;
  EXPECT_TALPA_ERROR(config.validate("m"), kConfig,
                     "m.moe.latent.basis_rank = 48 is not below m.dim = 48");
}

TEST(DecoderConfigTest, GroupsAndLayers) {
  DecoderConfig config = config_of(Family::kQwen3Moe);
  EXPECT_FALSE(config.is_moe_layer(0));
  EXPECT_TRUE(config.is_moe_layer(1));
  EXPECT_EQ(config.group_size(), 8);
  EXPECT_EQ(config.num_groups(), 1);
  config.moe.latent.group_size = 2;
  EXPECT_EQ(config.num_groups(), 4);
  EXPECT_EQ(config_of(Family::kLlama).num_groups(), 0);
}

TEST(WeightSpecs, LatentExpertsOfEveryShape) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.moe.latent = {.latent_dim = 16,
                       .group_size = 4,
                       .factor_down = true,
                       .share_gate_up_latent = true,
                       .mixed = true};
  std::map<std::string, Shape> shapes;
  for (const WeightSpec& spec : weight_specs(config)) shapes[spec.name] = spec.shape;
  const std::string moe = "layers.2.moe.";
  EXPECT_EQ(shapes.at(moe + "gate_up_in"), (Shape{2, 16, 48}));
  EXPECT_EQ(shapes.at(moe + "gate_up_mix"), (Shape{8, 2}));
  EXPECT_EQ(shapes.at(moe + "gate"), (Shape{8, 24, 16}));
  EXPECT_EQ(shapes.at(moe + "down"), (Shape{8, 16, 24}));
  EXPECT_EQ(shapes.at(moe + "down_out"), (Shape{2, 48, 16}));
  EXPECT_EQ(shapes.at(moe + "down_mix"), (Shape{8, 2}));
  EXPECT_EQ(shapes.count(moe + "gate_in") + shapes.count(moe + "up_mix"), 0U);
}

TEST(WeightSpecs, LowRankBases) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.moe.latent = {
      .latent_dim = 16, .group_size = 1, .factor_down = true, .mixed = true, .basis_rank = 6};
  std::map<std::string, Shape> shapes;
  for (const WeightSpec& spec : weight_specs(config)) shapes[spec.name] = spec.shape;
  const std::string moe = "layers.2.moe.";
  for (const std::string name : {"gate", "up"}) {
    EXPECT_EQ(shapes.at(moe + name + "_in"), (Shape{8, 6, 48}));
    EXPECT_EQ(shapes.at(moe + name + "_basis"), (Shape{8, 10, 6}));
    EXPECT_EQ(shapes.at(moe + name), (Shape{8, 24, 16}));
  }
  EXPECT_EQ(shapes.at(moe + "down_out"), (Shape{8, 48, 6}));
  EXPECT_EQ(shapes.at(moe + "down_basis"), (Shape{8, 6, 10}));
  for (const std::string name : {"gate", "up", "down"}) {
    EXPECT_EQ(shapes.at(moe + name + "_pivot"), (Shape{8, 16}));
    EXPECT_EQ(shapes.at(moe + name + "_mix"), (Shape{8, 8}));
  }
}

TEST(BasisPivots, PutTheIdentityBetweenTheOtherRows) {
  const std::vector<float> mask = {0, 1, 0, 1, 1, 1, 0, 0};
  EXPECT_EQ(basis_order(mask, 4, 2, "p"), (std::vector<std::int32_t>{2, 0, 3, 1, 0, 1, 2, 3}));
  const auto order_of = [](std::vector<float> row) { return basis_order(row, 4, 2, "some_pivot"); };
  EXPECT_TALPA_ERROR(order_of({1, 1, 1, 0}), kFormat, "some_pivot: row 0 marks 3 pivots");
  EXPECT_TALPA_ERROR(order_of({1, 0, 0, 0}), kFormat, "marks 1 pivots, expected 2");
  EXPECT_TALPA_ERROR(order_of({1, 2, 0, 0}), kFormat, "column 1 is 2");
  EXPECT_TALPA_ERROR(order_of({1, NAN, 0, 0}), kFormat, "column 1 is nan");
}

}  // namespace
}  // namespace talpa
