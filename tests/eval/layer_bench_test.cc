#include "talpa/eval/layer_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "talpa/base/error.h"
#include "talpa/eval/random_experts.h"
#include "talpa/eval/random_weights.h"
#include "talpa/model/accounting.h"

namespace talpa {
namespace {

DecoderConfig tiny_moe(int top_k) {
  DecoderConfig c;
  c.family = Family::kTalpa;
  c.vocab_size = 96;
  c.dim = 128;
  c.num_layers = 2;
  c.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 32};
  c.moe.num_experts = 8;
  c.moe.top_k = top_k;
  c.moe.hidden_dim = 64;
  return c;
}

const std::vector<LatentConfig> kLatents = {
    {},
    {.latent_dim = 64, .group_size = 2},
    {.latent_dim = 64, .group_size = 4, .factor_gate = false, .factor_down = true},
    {.latent_dim = 64, .factor_down = true, .share_gate_up_latent = true}};

double macs_per_layer(const DecoderConfig& config) {
  return account_of(config).expert_macs_per_token / config.num_layers;
}

/// Limits of a machine that reads 1 byte and does `operations` operations a nanosecond.
ThreadLimits limits_of(double operations) {
  const Rate arithmetic{operations * 1e9, operations * 1e9};
  return {.dram_read = {1e9, 1e9}, .fp32 = arithmetic, .int8 = arithmetic};
}

LayerBenchOptions quick_options() {
  LayerBenchOptions options;
  options.rows = {1, 16};
  options.seconds = 1e-4;
  options.distinct_bytes = 1 << 20;
  return options;
}

TEST(ExpertWork, IsExactlyThatOfTheAccountWhenEveryExpertIsChosen) {
  ThreadPool pool(2);
  for (const LatentConfig& latent : kLatents)
    for (const DType held : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_1}) {
      DecoderConfig config = tiny_moe(8);
      config.moe.latent = latent;
      RandomExperts experts(config, held, 8, config.num_groups(), pool);
      const DispatchPlan plan = uniform_plan(config.moe, 3, 5);
      const ExpertWork work = expert_work(experts.next_layer(plan), plan);
      const double bytes_per_param = static_cast<double>(bytes_of(held, 32)) / 32;
      EXPECT_DOUBLE_EQ(work.bytes, expert_bytes_read(config, 3, bytes_per_param)) << name_of(held);
      EXPECT_DOUBLE_EQ(work.macs, 3 * macs_per_layer(config));
      EXPECT_DOUBLE_EQ(work.bytes, static_cast<double>(experts.bytes()));
    }
}

TEST(ExpertWork, IsThatOfTheAccountOnAverage) {
  ThreadPool pool(1);
  for (const LatentConfig& latent : kLatents) {
    DecoderConfig config = tiny_moe(3);
    config.moe.latent = latent;
    RandomExperts experts(config, DType::kF32, 8, config.num_groups(), pool);
    for (const int rows : {1, 4}) {
      ExpertWork mean;
      constexpr int kRoutings = 2000;
      for (int i = 0; i < kRoutings; ++i) {
        const DispatchPlan plan = uniform_plan(config.moe, rows, static_cast<std::uint64_t>(i));
        const ExpertWork work = expert_work(experts.next_layer(plan), plan);
        mean.bytes += work.bytes / kRoutings;
        mean.macs += work.macs / kRoutings;
      }
      EXPECT_NEAR(mean.bytes / expert_bytes_read(config, rows, 4), 1, 0.01);
      EXPECT_NEAR(mean.macs / (rows * macs_per_layer(config)), 1, 0.01);
    }
  }
}

TEST(RandomExperts, PassAllBeforeOneComesAgain) {
  ThreadPool pool(1);
  DecoderConfig config = tiny_moe(2);
  config.moe.latent = {.latent_dim = 64};
  RandomExperts experts(config, DType::kBF16, 20, 10, pool);
  std::set<const std::byte*> seen;
  for (std::uint64_t layer = 0; layer < 10; ++layer) {
    const DispatchPlan plan = uniform_plan(config.moe, 1, layer);
    const ExpertWeights weights = experts.next_layer(plan);
    for (const std::int32_t e : plan.expert) {
      EXPECT_TRUE(seen.insert(weights.gate[e].panel(0)).second);
      EXPECT_TRUE(seen.insert(weights.down[e].panel(0)).second);
    }
    EXPECT_TRUE(seen.insert(weights.up_in[0].panel(0)).second);
  }
  EXPECT_EQ(seen.size(), 10u * (2 * 2 + 1));
}

TEST(RandomRows, DependOnTheirNumberAloneAndHaveTheRightSize) {
  constexpr std::int64_t kRows = 50, kColumns = 131;
  const RowSource source = random_rows(kRows, kColumns, 3);
  std::vector<std::byte> all(2 * kRows * kColumns), part(2 * 7 * kColumns);
  source.read(0, kRows, all.data());
  source.read(20, 7, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 2 * 20 * kColumns));
  std::vector<float> values(kRows * kColumns);
  to_float(DType::kBF16, all.data(), values.data(), kRows * kColumns);
  double squares = 0, sum = 0;
  for (const float v : values) {
    squares += v * v;
    sum += v;
    EXPECT_GT(std::abs(v), 1e-3);
  }
  EXPECT_GT(squares / kRows, 0.5);
  EXPECT_LT(squares / kRows, 2);
  EXPECT_NEAR(sum / (kRows * kColumns), 0, 0.01);
}

TEST(LimitShare, NamesTheLimitThatWorkMeetsFirst) {
  ThreadLimits limits = limits_of(10);
  const Elapsed measured{.wall = 2, .cpu = 4};
  const LimitShare reading =
      limit_share({.bytes = 1e9, .operations = 5e9}, DType::kF32, measured, limits);
  EXPECT_TRUE(reading.by_memory);
  EXPECT_DOUBLE_EQ(reading.of_second, 0.5);
  EXPECT_DOUBLE_EQ(reading.of_core_second, 0.25);
  limits.int8 = {40e9, 20e9};
  const LimitShare blocks = limit_share(
      {.bytes = 1e9, .operations = 40e9, .float_operations = 10e9}, DType::kQ4_0, measured, limits);
  EXPECT_STREQ(blocks.limit, "int8");
  EXPECT_DOUBLE_EQ(blocks.of_second, 1);
  EXPECT_DOUBLE_EQ(blocks.of_core_second, 0.75);
  limits.bf16 = {20e9, 20e9};
  EXPECT_STREQ(limit_share({.operations = 1}, DType::kBF16, measured, limits).limit, "bf16");
  EXPECT_STREQ(limit_share({.operations = 1}, DType::kF16, measured, limits).limit, "fp32");
}

TEST(LayerBench, RatiosFollowFromWhatWasMeasured) {
  ThreadPool pool(2);
  const DecoderConfig config = tiny_moe(3);
  LayerBenchOptions options = quick_options();
  std::int64_t done = 0;
  options.progress = [&](std::int64_t n) { done = n; };
  const auto latents = std::span(kLatents).subspan(1);
  auto layers = bench_layers(config, latents, pool, options);
  judge(layers, limits_of(1));
  EXPECT_EQ(done, num_layer_runs(latents.size(), options));
  ASSERT_EQ(layers.size(), options.rows.size() * kLatents.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerSpeed& layer = layers[i];
    const LayerSpeed& dense = layers[i / kLatents.size() * kLatents.size()];
    EXPECT_EQ(layer.latent, kLatents[i % kLatents.size()]);
    EXPECT_EQ(layer.rows, options.rows[i / kLatents.size()]);
    EXPECT_GT(layer.run.wall, 0);
    EXPECT_GE(layer.held_bytes, options.distinct_bytes / 2);
    EXPECT_DOUBLE_EQ(layer.share.of_second,
                     std::max(layer.bytes, 2 * layer.macs) * 1e-9 / layer.run.wall);
    ASSERT_EQ(layer.gain.has_value(), layer.latent.enabled());
    if (!layer.gain) continue;
    EXPECT_DOUBLE_EQ(layer.gain->bytes, layer.bytes / dense.bytes);
    EXPECT_DOUBLE_EQ(layer.gain->macs, layer.macs / dense.macs);
    EXPECT_EQ(layer.gain->by_bytes, dense.bytes >= 2 * dense.macs);
    EXPECT_DOUBLE_EQ(
        layer.gain->realised,
        layer.gain->speed * (layer.gain->by_bytes ? layer.gain->bytes : layer.gain->macs));
  }
}

TEST(LayerBench, RefusesWhatItCannotTime) {
  ThreadPool pool(1);
  auto code_of = [&](const DecoderConfig& config, const LatentConfig& latent,
                     const LayerBenchOptions& options) {
    try {
      bench_layers(config, {&latent, 1}, pool, options);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  LayerBenchOptions options = quick_options();
  EXPECT_EQ(code_of(tiny_moe(2), {.latent_dim = 8, .group_size = 3}, options), ErrorCode::kConfig);
  EXPECT_EQ(code_of(tiny_moe(2), {.latent_dim = 8, .mixed = true}, options),
            ErrorCode::kUnsupported);
  DecoderConfig dense = tiny_moe(2);
  dense.moe = {};
  EXPECT_EQ(code_of(dense, {}, options), ErrorCode::kUnsupported);
  options.memory = 1000;
  EXPECT_EQ(code_of(tiny_moe(2), {.latent_dim = 8}, options), ErrorCode::kUnsupported);
  const std::atomic<bool> cancelled = true;
  options = quick_options();
  options.cancelled = &cancelled;
  EXPECT_EQ(code_of(tiny_moe(2), {.latent_dim = 8}, options), ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace talpa
