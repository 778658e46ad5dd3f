#include "talpa/model/accounting.h"

#include <gmock/gmock.h>

#include <cmath>

#include "scratch.h"

namespace talpa {
namespace {

const PublishedModel& published(const std::string& name) {
  for (const PublishedModel& model : published_models())
    if (model.name == name) return model;
  fail(ErrorCode::kNotFound, "no published model {}", name);
}

LatentConfig grouped(int group_size, int latent_dim) {
  return {.latent_dim = latent_dim, .group_size = group_size};
}

/// A row of the table of published MoLAE conversions: r = m, gate and up.
struct TableRow {
  const char* model;
  int group_size;
  double rho;
  double layer_ratio;
  double cut_percent;  ///< of the whole model
};

class PublishedTable : public ::testing::TestWithParam<TableRow> {};

TEST_P(PublishedTable, ComesOutOfTheFormulas) {
  const TableRow& row = GetParam();
  const PublishedModel& model = published(row.model);
  const LatentOutlook outlook =
      latent_outlook(model.config, grouped(row.group_size, model.config.moe.hidden_dim));
  EXPECT_EQ(outlook.refusal, "");
  EXPECT_NEAR(outlook.rho, row.rho, 0.0005);
  EXPECT_NEAR(outlook.expert_ratio, row.layer_ratio, 0.0008);
  const double share = static_cast<double>(account_of(model.config).expert_params) /
                       static_cast<double>(model.total_params);
  EXPECT_NEAR(100 * (1 - outlook.expert_ratio) * share, row.cut_percent, 0.2);
}

const TableRow kTable[] = {
    {"deepseek-v2-lite", 8, 0.8125, 0.875, 11.5}, {"ling-lite", 8, 0.8125, 0.875, 11.5},
    {"qwen3-30b-a3b", 4, 0.625, 0.750, 23.8},     {"qwen3-235b-a22b", 4, 0.625, 0.750, 24.2},
    {"deepseek-v3", 4, 0.5357, 0.690, 30.2},      {"kimi-k2", 3, 0.619, 0.746, 25.1},
    {"qwen1.5-moe-a2.7b", 4, 0.9375, 0.958, 3.6}, {"qwen1.5-moe-a2.7b", 60, 0.704, 0.803, 17.2},
    {"moonlight-16b-a3b", 8, 0.8125, 0.875, 11.2}};
INSTANTIATE_TEST_SUITE_P(Mole, PublishedTable, ::testing::ValuesIn(kTable));

TEST(PublishedModels, ParametersAreThePublishedOnesWhereTheAttentionIsOurs) {
  for (const char* name :
       {"qwen3-30b-a3b", "qwen3-235b-a22b", "qwen1.5-moe-a2.7b", "olmoe-1b-7b", "mixtral-8x7b"})
    EXPECT_EQ(account_of(published(name).config).total_params, published(name).total_params)
        << name;
}

TEST(PublishedModels, DescriptionsAreValidAndNearTheirSize) {
  for (const PublishedModel& model : published_models()) {
    model.config.validate(model.name);
    const auto total = static_cast<double>(account_of(model.config).total_params);
    EXPECT_NEAR(total / static_cast<double>(model.total_params), 1, 0.05) << model.name;
  }
}

/// Expected groups a token hits and multiply-adds of the experts relative to dense.
struct ComputeRow {
  const char* model;
  int group_size;
  double groups_hit;
  double mac_ratio;
  double mac_ratio_one_group;
};

class ComputeTable : public ::testing::TestWithParam<ComputeRow> {};

TEST_P(ComputeTable, ComesOutOfTheFormulas) {
  const ComputeRow& row = GetParam();
  const DecoderConfig& config = published(row.model).config;
  const MoeConfig& moe = config.moe;
  EXPECT_NEAR(expected_groups_hit(moe.num_experts, row.group_size, moe.top_k), row.groups_hit,
              0.01);
  const auto ratio = [&](int k) {
    return latent_outlook(config, grouped(k, moe.hidden_dim)).mac_ratio;
  };
  EXPECT_NEAR(ratio(row.group_size), row.mac_ratio, 0.001);
  EXPECT_NEAR(ratio(moe.num_experts), row.mac_ratio_one_group, 0.001);
}

const ComputeRow kCompute[] = {{"qwen3-30b-a3b", 4, 7.36, 1.197, 0.667},
                               {"qwen3-30b-a3b", 8, 6.60, 1.133, 0.667},
                               {"deepseek-v3", 4, 7.68, 1.163, 0.607},
                               {"deepseek-v2-lite", 8, 4.54, 1.296, 0.903}};
INSTANTIATE_TEST_SUITE_P(Mole, ComputeTable, ::testing::ValuesIn(kCompute));

TEST(LatentOutlookTest, RefusesWhatExpandsNamingTheBreakEven) {
  const DecoderConfig& qwen3 = published("qwen3-30b-a3b").config;
  const DecoderConfig& mixtral = published("mixtral-8x7b").config;
  EXPECT_THAT(latent_outlook(qwen3, grouped(1, 768)).refusal,
              ::testing::HasSubstr("latent_dim must be below 558.5"));
  EXPECT_THAT(latent_outlook(mixtral, grouped(8, 14336)).refusal,
              ::testing::HasSubstr("latent_dim must be below 3954.8"));
  EXPECT_EQ(latent_outlook(mixtral, grouped(8, 3954)).refusal, "");
  EXPECT_THAT(latent_outlook(mixtral, grouped(8, 3955)).refusal,
              ::testing::HasSubstr("1.000 times the dense experts"));
  EXPECT_THAT(latent_outlook(qwen3, grouped(3, 768)).refusal,
              ::testing::HasSubstr("does not divide"));
}

TEST(LatentOutlookTest, SingleLatentOnBothSidesIsLatentMoe) {
  const DecoderConfig& qwen3 = published("qwen3-30b-a3b").config;
  const LatentConfig latent = {
      .latent_dim = 1536, .factor_down = true, .share_gate_up_latent = true};
  const LatentOutlook outlook = latent_outlook(qwen3, latent);
  EXPECT_NEAR(outlook.expert_ratio, 0.75 + 2.0 * 1536 / (3 * 128 * 768), 1e-12);
  EXPECT_NEAR(outlook.mac_ratio, 0.917, 0.001);
}

TEST(LatentOutlookTest, BytesReadFollowExpertsAndGroupsHit) {
  const DecoderConfig& config = published("qwen3-30b-a3b").config;
  const double n = 2048, m = 768;
  EXPECT_NEAR(expert_bytes_read(config, 1, 2), 2 * 8 * 3 * m * n, 1);
  const double experts = expected_experts_hit(128, 8, 32);
  EXPECT_NEAR(experts, 128 * (1 - std::pow(1 - 8.0 / 128, 32)), 1e-9);
  DecoderConfig latent = config;
  latent.moe.latent = grouped(4, 768);
  const double groups = expected_groups_hit(128, 4, 8, 32);
  EXPECT_NEAR(expert_bytes_read(latent, 32, 1), experts * (m * n + 2 * m * m) + groups * 2 * m * n,
              1);
}

TEST(Budget, IsTheLargestLatentThatFits) {
  const DecoderConfig& config = published("qwen3-30b-a3b").config;
  EXPECT_EQ(latent_dim_for_budget(config, grouped(4, 0), 0.75), 768);
  EXPECT_EQ(latent_dim_for_budget(config, grouped(4, 0), 0.7499), 760);
  EXPECT_EQ(latent_dim_for_budget(config, grouped(4, 0), 0.3), std::nullopt);
}

/// SLBF's settings of Qwen3-30B-A3B: rank 226 keeps 76 %, rank 147 keeps 64 %.
TEST(LowRankBases, StoreWhatSlbfSays) {
  const DecoderConfig& config = published("qwen3-30b-a3b").config;
  LatentConfig latent{.latent_dim = 768,
                      .group_size = 1,
                      .factor_down = true,
                      .mixed = true,
                      .basis_activation = BasisActivation::kSilu,
                      .basis_rank = 226};
  const double N = 128, m = 768, n = 2048, k = 226;
  const LatentOutlook outlook = latent_outlook(config, latent);
  EXPECT_EQ(outlook.refusal, "");
  EXPECT_NEAR(outlook.expert_ratio, (m * m + k * (m + n - k) + m + N) / (m * n), 1e-12);
  EXPECT_NEAR(outlook.expert_ratio, 0.76, 0.015);
  latent.basis_rank = 147;
  EXPECT_NEAR(latent_outlook(config, latent).expert_ratio, 0.64, 0.02);
  EXPECT_EQ(basis_rank_for_budget(config, latent, outlook.expert_ratio, 1), 226);
  EXPECT_EQ(basis_rank_for_budget(config, latent, outlook.expert_ratio, 8), 224);
  EXPECT_EQ(basis_rank_for_budget(config, latent, 0.3), std::nullopt);
  latent.basis_rank = 500;
  EXPECT_THAT(latent_outlook(config, latent).refusal,
              ::testing::HasSubstr("basis_rank must be at most 4"));
  latent.latent_dim = 2048;
  EXPECT_THAT(latent_outlook(config, latent).refusal,
              ::testing::HasSubstr("no basis_rank is small enough"));
}

/// The experts' products are those of full bases; where linear, of U and V.
TEST(LowRankBases, MultiplyAdds) {
  DecoderConfig config = published("qwen3-30b-a3b").config;
  config.moe.latent = {.latent_dim = 768, .group_size = 4, .mixed = true, .basis_rank = 100};
  const double N = 128, G = 32, K = 8, m = 768, n = 2048, r = 768, k = 100;
  const double own = K * (m * n + 2 * m * r);
  EXPECT_NEAR(account_of(config).expert_macs_per_token,
              48 * (own + 2 * G * k * (n + r - k) + 2 * K * G * r), 1);
  config.moe.latent.basis_activation = BasisActivation::kSilu;
  EXPECT_NEAR(account_of(config).expert_macs_per_token, 48 * (own + 2 * K * r * n), 1);
  EXPECT_EQ(account_of(config).expert_params,
            static_cast<std::int64_t>(
                48 * (N * (m * n + 2 * m * r + 2 * G) + 2 * G * (k * (n + r - k) + r))));
}

TEST(LatentWidthsApart, ParametersAndMultiplyAdds) {
  DecoderConfig config = published("qwen3-30b-a3b").config;
  config.moe.latent = {.latent_dim = 256,
                       .group_size = 128,
                       .factor_down = true,
                       .share_gate_up_latent = true,
                       .down_latent_dim = 512};
  const double N = 128, K = 8, m = 768, n = 2048, in = 256, out = 512;
  EXPECT_EQ(account_of(config).expert_params,
            static_cast<std::int64_t>(48 * (N * m * (2 * in + out) + n * (in + out))));
  EXPECT_NEAR(account_of(config).expert_macs_per_token,
              48 * (K * m * (2 * in + out) + n * (in + out)), 1);
}

TEST(AccountTest, CountsASmallModelByHand) {
  DecoderConfig config;
  config.vocab_size = 100;
  config.dim = 8;
  config.num_layers = 2;
  config.ffn_dim = 12;
  config.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 4};
  config.moe.num_experts = 4;
  config.moe.hidden_dim = 6;
  config.moe.dense_layers = {0};
  const std::int64_t attention = 2 * 8 * 8 + 2 * 4 * 8, experts = 4 * 3 * 8 * 6;
  const std::int64_t rest = 2 * attention + 3 * 8 * 12 + 4 * 8;
  const Account account = account_of(config);
  EXPECT_EQ(account.expert_params, experts);
  EXPECT_EQ(account.embedding_params, 2 * 800);
  EXPECT_EQ(account.total_params, 2 * 800 + rest + experts + 5 * 8);
  EXPECT_EQ(account.active_params, 800 + rest + experts / 2 + 5 * 8);
  EXPECT_EQ(account.macs_per_token, 800 + rest + experts / 2);
  EXPECT_EQ(account.expert_macs_per_token, experts / 2);
  EXPECT_EQ(account.kv_elements_per_token, 2 * 2 * 4);
}

/// A description of latent experts of every shape; the closed formulas must count what is stored.
TEST(AccountTest, StoredRatioIsThatOfTheTensors) {
  DecoderConfig config = published("olmoe-1b-7b").config;
  const auto dense = static_cast<double>(account_of(config).expert_params);
  const LatentConfig settings[] = {
      {.latent_dim = 200, .group_size = 4},
      {.latent_dim = 200, .group_size = 8, .factor_down = true},
      {.latent_dim = 200, .factor_down = true, .share_gate_up_latent = true},
      {.latent_dim = 200, .group_size = 4, .factor_gate = false, .mixed = true},
      {.latent_dim = 200,
       .group_size = 4,
       .share_gate_up_latent = true,
       .mixed = true,
       .basis_activation = BasisActivation::kTanh},
      {.latent_dim = 1024,
       .group_size = 1,
       .factor_down = true,
       .mixed = true,
       .basis_activation = BasisActivation::kSilu,
       .basis_rank = 100},
      {.latent_dim = 200,
       .group_size = 8,
       .share_gate_up_latent = true,
       .mixed = true,
       .basis_rank = 60},
      {.latent_dim = 200, .group_size = 4, .factor_down = true, .down_latent_dim = 320},
      {.latent_dim = 1024,
       .group_size = 1,
       .factor_down = true,
       .mixed = true,
       .basis_activation = BasisActivation::kTanh,
       .basis_rank = 100,
       .down_latent_dim = 640,
       .down_basis_rank = 160}};
  for (const LatentConfig& latent : settings) {
    const LatentOutlook outlook = latent_outlook(config, latent);
    config.moe.latent = latent;
    EXPECT_NEAR(static_cast<double>(account_of(config).expert_params) / dense, outlook.expert_ratio,
                1e-12)
        << config_to_json(latent).dump();
  }
}

}  // namespace
}  // namespace talpa
