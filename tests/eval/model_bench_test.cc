#include "talpa/eval/model_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "talpa/base/error.h"
#include "talpa/eval/bench_report.h"
#include "talpa/eval/bench_setup.h"
#include "talpa/eval/random_weights.h"
#include "talpa/model/accounting.h"

namespace talpa {
namespace {

DecoderConfig small_decoder(const LatentConfig& latent = {}) {
  DecoderConfig c;
  c.family = Family::kTalpa;
  c.vocab_size = 160;
  c.dim = 64;
  c.num_layers = 3;
  c.ffn_dim = 96;
  c.attention = {.num_heads = 4,
                 .num_kv_heads = 2,
                 .head_dim = 16,
                 .qkv_bias = true,
                 .qk_norm = QkNorm::kPerHead};
  c.moe.num_experts = 8;
  c.moe.top_k = 2;
  c.moe.hidden_dim = 32;
  c.moe.shared_hidden_dim = 32;
  c.moe.shared_gate = true;
  c.moe.dense_layers = {0};
  c.moe.latent = latent;
  return c;
}

TEST(RandomModelFiles, HaveEveryTensorAndRun) {
  for (const LatentConfig& latent :
       {LatentConfig{}, LatentConfig{.latent_dim = 16, .group_size = 4, .factor_down = true},
        LatentConfig{.latent_dim = 16, .group_size = 2, .mixed = true}}) {
    const DecoderConfig config = small_decoder(latent);
    const ModelFiles files = random_model_files(config, 1);
    for (const WeightSpec& spec : weight_specs(config)) {
      const Weight& weight = files.at(spec.name);
      EXPECT_EQ(weight.shape, spec.shape);
      EXPECT_EQ(weight.bytes(),
                bytes_of(weight.dtype(), static_cast<std::uint64_t>(num_elements(spec.shape))));
    }
    const auto model = Model::load(files, {.weights = DType::kF32, .threads = 1});
    KvCache cache(config, 4);
    const std::vector<TokenId> tokens = {1, 159, 7};
    const SequenceInput input{&cache, tokens, LogitsWanted::kAll};
    for (const float logit : model->forward({&input, 1})) ASSERT_TRUE(std::isfinite(logit));
  }
}

TEST(ModelBench, CountsBytesAndOperations) {
  const DecoderConfig config = small_decoder();
  const auto model = Model::load(random_model_files(config, 1), {.weights = DType::kF32});
  const Account account = account_of(config);
  const double head = 160 * 64, embedding_row = 4 * 64;
  const auto step_bytes = [](const Model& m, int rows) {
    return static_cast<double>(m.active_bytes(rows));
  };
  // A thousand rows miss no expert: all but the embedding is read.
  EXPECT_NEAR(step_bytes(*model, 1000),
              static_cast<double>(model->weight_bytes()) - 4 * head + embedding_row, 1);
  const Work prefill = feed_work(*model, 2, 10, 6, 6), decode = feed_work(*model, 2, 16, 3, 1);
  // Keys and values of 2 heads of 16 in 3 layers, in fp32; 2 sequences of 16, then 17 to 19.
  const double kv = 2 * 2 * 16 * 3 * 4;
  EXPECT_DOUBLE_EQ(prefill.bytes, step_bytes(*model, 12) + 2 * 16 * kv);
  EXPECT_DOUBLE_EQ(prefill.operations, 2 * (12 * (account.macs_per_token - head) + 2 * head));
  EXPECT_DOUBLE_EQ(decode.bytes, 3 * step_bytes(*model, 2) + 2 * (17 + 18 + 19) * kv);
  EXPECT_DOUBLE_EQ(decode.operations, 2 * 6 * account.macs_per_token);
  // Positions 10 to 15 see 11 to 16 tokens; scores and sums, 4 heads of 16 in 3 layers.
  EXPECT_DOUBLE_EQ(prefill.float_operations, 2.0 * 2 * 2 * (11 + 12 + 13 + 14 + 15 + 16) * 64 * 3);
}

TEST(ModelBench, TimesModelsInTurn) {
  const std::vector<DecoderConfig> configs = {small_decoder(), small_decoder({.latent_dim = 16})};
  const DType dtypes[] = {DType::kF32, DType::kQ8_0};
  const ModelSet set = random_models("small", configs, dtypes, {.threads = 2}, 1 << 30);
  ModelBenchOptions options{
      .prompt_tokens = 8, .decode_tokens = 3, .batch = 2, .context = 5, .rounds = 2};
  std::int64_t done = 0;
  options.progress = [&](std::int64_t n) { done = n; };
  const Rate rate{1e9, 1e9};
  auto speeds = bench_models(set.benched, options);
  judge(speeds, {.dram_read = rate, .fp32 = rate, .int8 = rate});
  EXPECT_EQ(done, 8);
  ASSERT_EQ(speeds.size(), 4u);
  EXPECT_EQ(speeds[1].name, "small, 3 layers, k=8 r=16 gate,up");
  EXPECT_LT(speeds[2].weight_bytes, speeds[0].weight_bytes);
  EXPECT_DOUBLE_EQ(speeds[0].decode.speed, 1);
  for (const ModelSpeed& speed : speeds) {
    EXPECT_EQ(speed.prefill.tokens, 16);
    EXPECT_EQ(speed.decode.tokens, 6);
    EXPECT_GT(speed.prefill.tokens_per_second(), 0);
    EXPECT_GT(speed.decode.share.of_second, 0);
    const Work work = feed_work(*set.models[&speed - &speeds[0]], 2, 13, 3, 1);
    EXPECT_DOUBLE_EQ(speed.decode.work.bytes, work.bytes);
  }
  BenchReport report;
  report.models = speeds;
  EXPECT_EQ(to_json(report).at("models").size(), 4u);
}

TEST(BenchSetup, NamesWhatIsWrong) {
  auto message_of = [](auto&& work) -> std::string {
    try {
      work();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message_of([] { published_config("qwen3-30b-a3"); }),
              ::testing::HasSubstr("did you mean qwen3-30b-a3b;"));
  EXPECT_THAT(message_of([] { published_config("olmoe-1b-7b", 17); }),
              ::testing::HasSubstr("--layers 17: olmoe-1b-7b has 16"));
  EXPECT_EQ(published_config("deepseek-v3", 2).moe.dense_layers, (std::vector<int>{0, 1}));
  const std::vector<DecoderConfig> configs = {published_config("olmoe-1b-7b")};
  const DType dtypes[] = {DType::kBF16};
  EXPECT_THAT(
      message_of([&] { random_models("x", configs, dtypes, {.threads = 1}, 4'000'000'000); }),
      ::testing::HasSubstr("weights need 13.8 GB, and only 4.0 GB are free; --layers 4 "));
}

}  // namespace
}  // namespace talpa
