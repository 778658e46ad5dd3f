#include "talpa/engine/model.h"

#include <gtest/gtest.h>

#include "engine/random_model.h"

namespace talpa::testing {
namespace {

class EngineTest : public ::testing::TestWithParam<DecoderCase> {
 protected:
  Scratch scratch_;
};

std::vector<float> part(const std::vector<float>& logits, std::size_t first, std::size_t count) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(first * 101);
  return {begin, begin + static_cast<std::ptrdiff_t>(count * 101)};
}

/// In one piece, token by token, and among other sequences: the same bits.
TEST_P(EngineTest, LogitsDoNotDependOnBatching) {
  const LoadedModel loaded = random_model(GetParam().config, scratch_, GetParam().options);
  Model& model = *loaded.model;
  const auto tokens = random_tokens(37, 1), other = random_tokens(9, 2);
  const std::vector<float> whole = all_logits(model, tokens);
  ASSERT_EQ(whole.size(), tokens.size() * 101);

  KvCache cache(model.config(), 64), other_cache(model.config(), 64);
  std::vector<float> single;
  for (const TokenId& token : tokens) {
    const SequenceInput input{&cache, {&token, 1}, LogitsWanted::kLast};
    const auto logits = model.forward({&input, 1});
    single.insert(single.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(single, whole);

  cache.truncate(5);
  const SequenceInput both[] = {{&other_cache, other, LogitsWanted::kLast},
                                {&cache, std::span(tokens).subspan(5), LogitsWanted::kAll}};
  const auto logits = model.forward(both);
  EXPECT_EQ(part(logits, 0, 1), part(all_logits(model, other), other.size() - 1, 1));
  EXPECT_EQ(part(logits, 1, 32), part(whole, 5, 32));
}

TEST_P(EngineTest, ThreadsDoNotChangeLogits) {
  const auto tokens = random_tokens(50, 3);
  const auto one = random_model(GetParam().config, scratch_, GetParam().with({}, 1));
  const auto three = random_model(GetParam().config, scratch_, GetParam().with({}, 3));
  EXPECT_EQ(all_logits(*one.model, tokens), all_logits(*three.model, tokens));
}

/// Coarser weights move the logits, but no further than the format's error allows.
TEST_P(EngineTest, HoldsEveryType) {
  const auto tokens = random_tokens(20, 4);
  const auto full = random_model(GetParam().config, scratch_, GetParam().options);
  const auto exact = all_logits(*full.model, tokens);
  double scale = 0;
  for (const float v : exact) scale += double{v} * v;
  const std::vector<std::pair<DType, double>> limits = {
      {DType::kF16, 0.02}, {DType::kBF16, 0.1}, {DType::kQ8_0, 0.15}, {DType::kQ4_1, 0.8}};
  for (const auto& [dtype, limit] : limits) {
    const auto held = random_model(GetParam().config, scratch_, GetParam().with(dtype, 2));
    const auto logits = all_logits(*held.model, tokens);
    double error = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) error += std::pow(logits[i] - exact[i], 2);
    EXPECT_LT(std::sqrt(error / scale), limit) << name_of(dtype);
    EXPECT_GT(error, 0) << name_of(dtype);
    EXPECT_LT(held.model->weight_bytes(), full.model->weight_bytes());
  }
}

TEST_P(EngineTest, CountsRoutedRows) {
  const auto loaded = random_model(GetParam().config, scratch_, GetParam().options);
  const DecoderConfig& c = loaded.model->config();
  const auto tokens = random_tokens(30, 5);
  KvCache cache(c, 30);
  const SequenceInput input{&cache, tokens, LogitsWanted::kNone};
  RoutingCounts routing;
  EXPECT_TRUE(loaded.model->forward({&input, 1}, &routing).empty());
  ASSERT_EQ(routing.rows_per_expert.size(), 2u);
  for (int layer = 0; layer < 2; ++layer) {
    std::int64_t total = 0;
    for (const auto rows : routing.rows_per_expert[layer]) total += rows;
    EXPECT_EQ(total, c.is_moe_layer(layer) ? 30 * c.moe.top_k : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EngineTest, ::testing::ValuesIn(decoder_cases()),
                         [](const auto& info) { return info.param.name; });

/// Longer than a step, longer than a chunk of the cache.
TEST(ModelTest, LongPromptsAreCutWithoutATrace) {
  const Scratch scratch;
  const auto loaded = random_model(small_moe(Family::kMixtral), scratch);
  Model& model = *loaded.model;
  const auto tokens = random_tokens(700, 6);
  const auto whole = all_logits(model, tokens);
  KvCache cache(model.config(), 700);
  std::vector<float> pieces;
  for (std::size_t begin = 0; begin < 700; begin += 130) {
    const auto count = std::min<std::size_t>(130, 700 - begin);
    const SequenceInput input{&cache, std::span(tokens).subspan(begin, count), LogitsWanted::kAll};
    const auto logits = model.forward({&input, 1});
    pieces.insert(pieces.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(pieces, whole);
}

TEST(ModelTest, TruncatedCacheContinuesAsIfNothingHadFollowed) {
  const Scratch scratch;
  const auto loaded = random_model(small_config(Family::kLlama), scratch);
  Model& model = *loaded.model;
  const auto tokens = random_tokens(150, 7), wrong = random_tokens(30, 8);
  KvCache cache(model.config(), 200);
  const SequenceInput first{&cache, {tokens.data(), 125}, LogitsWanted::kNone};
  const SequenceInput astray{&cache, wrong, LogitsWanted::kNone};
  const SequenceInput rest{&cache, {tokens.data() + 125, 25}, LogitsWanted::kAll};
  model.forward({&first, 1});
  model.forward({&astray, 1});
  cache.truncate(125);
  EXPECT_EQ(model.forward({&rest, 1}), part(all_logits(model, tokens), 125, 25));
  EXPECT_TALPA_ERROR(cache.truncate(151), kUsage, "150 tokens");
}

TEST(ModelTest, RefusesWhatCannotBeRunAndLeavesCachesAlone) {
  const Scratch scratch;
  const auto loaded = random_model(small_config(Family::kLlama), scratch);
  Model& model = *loaded.model;
  KvCache cache(model.config(), 4), foreign(small_latent({.latent_dim = 8}), 4);
  const auto run = [&](KvCache* c, std::vector<TokenId> tokens) {
    const SequenceInput input{c, tokens, LogitsWanted::kLast};
    return model.forward({&input, 1});
  };
  run(&cache, {1, 2});
  EXPECT_TALPA_ERROR(run(&cache, {3, 4, 5}), kShape, "cache of 4 that holds 2");
  EXPECT_TALPA_ERROR(run(&cache, {3, 101}), kUsage, "token id 101");
  EXPECT_TALPA_ERROR(run(&cache, {-1}), kUsage, "token id -1");
  EXPECT_TALPA_ERROR(run(nullptr, {1}), kUsage, "cache of its own");
  EXPECT_EQ(cache.length(), 2);
  EXPECT_TRUE(run(&cache, {}).empty());
  EXPECT_TALPA_ERROR(KvCache(model.config(), 0), kConfig, "positive capacity");
}

TEST(ModelTest, ActiveBytesCountTheExpertsOfOneToken) {
  const Scratch scratch;
  DecoderConfig config = small_moe(Family::kMixtral);
  const auto model = random_model(config, scratch).model;
  // Rows come in panels of 16: 40 rows of gate and up take 48, 101 of the embedding 112.
  const double experts = 2.0 * 8 * (2 * 48 * 48 + 48 * 40) * 4, embedding = 112 * 48 * 4;
  EXPECT_NEAR(static_cast<double>(model->active_bytes()),
              static_cast<double>(model->weight_bytes()) - experts * 5 / 8 - embedding * 100 / 101,
              64);
}

/// Checkpoints, logits and greedy continuations made by transformers.
class GoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto expected = open_safetensors(directory_ / "expected.safetensors");
    const auto ids = [&](const char* name) {
      const auto values = read_floats(expected->at(name));
      return std::vector<TokenId>(values.begin(), values.end());
    };
    tokens_ = ids("tokens");
    greedy_ = ids("greedy");
    logits_ = read_floats(expected->at("logits"));
  }
  std::filesystem::path directory_ = golden("model/" + GetParam());
  std::vector<TokenId> tokens_, greedy_;
  std::vector<float> logits_;
};

TEST_P(GoldenTest, LogitsEqualTransformers) {
  const LoadedModel loaded = load_model(directory_, {.weights = DType::kF32, .threads = 2});
  const std::vector<float> logits = all_logits(*loaded.model, tokens_);
  ASSERT_EQ(logits.size(), logits_.size());
  for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], logits_[i], 1e-4) << i;
}

/// Activations may be rounded to bf16 as the weights are.
TEST_P(GoldenTest, LogitsOfStoredWeightsAreNear) {
  const LoadedModel loaded = load_model(directory_, {.threads = 2});
  const std::vector<float> logits = all_logits(*loaded.model, tokens_);
  double difference = 0, square = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    difference += std::pow(logits[i] - logits_[i], 2);
    square += std::pow(logits_[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / square), 0.03);
}

TEST_P(GoldenTest, GreedyContinuationEqualsTransformers) {
  const LoadedModel loaded = load_model(directory_, {.threads = 2});
  GenerateOptions options{.max_tokens = static_cast<int>(greedy_.size()), .ignore_eos = true};
  EXPECT_EQ(generate(loaded, tokens_, options).tokens, greedy_);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTest,
                         ::testing::Values("llama", "llama_tied", "mixtral", "qwen2_moe",
                                           "qwen3_moe", "qwen3_moe_sparse", "olmoe"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace talpa::testing
