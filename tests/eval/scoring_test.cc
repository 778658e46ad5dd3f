#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/eval/compare.h"
#include "talpa/eval/compare_report.h"

namespace talpa {
namespace {

using testing::Scratch;
using testing::shared_data;

DecoderConfig scored_moe(int vocab_size) {
  DecoderConfig config{.family = Family::kQwen3Moe,
                       .vocab_size = vocab_size,
                       .dim = 32,
                       .num_layers = 2,
                       .ffn_dim = 32,
                       .max_positions = 64};
  config.attention = {
      .num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .qk_norm = QkNorm::kPerHead};
  config.moe.num_experts = 4;
  config.moe.hidden_dim = 32;
  return config;
}

/// Writes random weights and loads them in `dtype`.
LoadedModel random_model(const std::filesystem::path& path, const DecoderConfig& config,
                         std::uint64_t seed, std::optional<DType> dtype = DType::kF32) {
  Random random(seed);
  save_hf_directory(path, config,
                    [&](const WeightSpec& spec, float* target) {
                      for (std::int64_t i = 0; i < num_elements(spec.shape); ++i)
                        target[i] = static_cast<float>(0.2 * random.normal());
                    },
                    {.dtype = DType::kF32});
  return load_model(path, {.weights = dtype, .threads = 2});
}

TokenDocument random_text(int vocab_size, int count) {
  Random random(5, "text");
  TokenDocument document;
  for (int i = 0; i < count; ++i)
    document.tokens.push_back(
        static_cast<TokenId>(random.below(static_cast<std::uint64_t>(vocab_size))));
  return document;
}

/// Loss of each window by one forward of all of it.
std::vector<double> direct_losses(Model& model, std::span<const Window> windows) {
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  std::vector<double> losses;
  for (const Window& window : windows) {
    KvCache cache(model.config(), static_cast<int>(window.tokens.size()));
    const SequenceInput input{&cache, window.tokens, LogitsWanted::kAll};
    const auto logits = model.forward(std::span(&input, 1));
    double loss = 0;
    for (std::size_t i = window.first_scored; i < window.tokens.size(); ++i) {
      const auto row = std::span(logits).subspan((i - 1) * vocab, vocab);
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit));
      loss += std::log(sum) - row[static_cast<std::size_t>(window.tokens[i])];
    }
    losses.push_back(loss);
  }
  return losses;
}

TEST(Perplexity, DoesNotDependOnHowWindowsAreFed) {
  const Scratch scratch;
  const LoadedModel loaded = random_model(scratch / "m", scored_moe(50), 1);
  const TokenDocument document = random_text(50, 101);
  const ScoringText text =
      prepare_scoring(std::span(&document, 1), {.context = 16, .stride = 12}, nullptr);
  const auto direct = direct_losses(*loaded.model, text.windows);
  const double expected = std::accumulate(direct.begin(), direct.end(), 0.0) / 100;
  for (const int batch : {1, 3, 64})
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, std::size_t{1} << 20}) {
      const auto result =
          measure_perplexity(*loaded.model, text, {.batch = batch, .logit_bytes = bytes});
      EXPECT_EQ(result.all.tokens, 100);
      EXPECT_NEAR(result.all.mean_nll, expected, 1e-5) << batch << " " << bytes;
    }
}

TEST(Perplexity, StopsWhenCancelled) {
  const Scratch scratch;
  const LoadedModel loaded = random_model(scratch / "m", scored_moe(50), 1);
  const TokenDocument document = random_text(50, 40);
  const ScoringText text = prepare_scoring(std::span(&document, 1), {.context = 16}, nullptr);
  const std::atomic<bool> cancelled{true};
  EXPECT_TALPA_ERROR(measure_perplexity(*loaded.model, text, {.cancelled = &cancelled}),
                     kInterrupted, "interrupted");
}

TEST(Perplexity, EqualsTransformersOnATrainedMoe) {
  const auto folder = shared_data("models/qwen3moe-3m");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const LoadedModel loaded = load_model(folder, {.weights = DType::kF32});
  const TokenDocument document =
      read_token_ids(folder / "test_ids.u16", loaded.files.config.vocab_size);
  const ScoringText text = prepare_scoring(std::span(&document, 1), {.context = 512}, nullptr);
  const auto result = measure_perplexity(*loaded.model, text);
  EXPECT_EQ(result.all.tokens, 24576 - 48);
  EXPECT_NEAR(result.all.mean_nll, 3.6503, 1e-4);
}

TEST(Divergence, OfAModelFromItselfIsNothing) {
  const Scratch scratch;
  const LoadedModel loaded = random_model(scratch / "m", scored_moe(50), 1);
  const TokenDocument document = random_text(50, 64);
  const ScoringText text = prepare_scoring(std::span(&document, 1), {.context = 16}, nullptr);
  Model* const models[] = {loaded.model.get(), loaded.model.get()};
  const auto scores = score_against_base(models, text);
  EXPECT_EQ(scores[0].loss.mean_nll, scores[1].loss.mean_nll);
  EXPECT_EQ(scores[1].divergence.ln_ratio, 0);
  EXPECT_EQ(scores[1].divergence.same_top1, 1);
  EXPECT_NEAR(scores[1].divergence.kl_mean, 0, 1e-9);
  EXPECT_EQ(scores[1].divergence.delta_p_rms, 0);
}

TEST(Divergence, MatchesItsDefinition) {
  std::vector<float> base = {0.1f, 2.0f, -1.0f}, other = {1.5f, 0.5f, 0.0f};
  const auto base_top = to_log_probabilities(base), other_top = to_log_probabilities(other);
  EXPECT_EQ(base_top, 1u);
  EXPECT_EQ(other_top, 0u);
  double mass = 0, kl = 0;
  for (int i = 0; i < 3; ++i) {
    mass += std::exp(base[i]);
    kl += std::exp(double(base[i])) * (double(base[i]) - other[i]);
  }
  EXPECT_NEAR(mass, 1, 1e-6);
  const auto token = compare_rows(base, base_top, other, other_top, 2);
  EXPECT_NEAR(token.kl, kl, 1e-6);
  EXPECT_FLOAT_EQ(static_cast<float>(token.nll), -other[2]);
  EXPECT_FALSE(token.same_top1);
}

TEST(Compare, ReportsLossesBytesAndSpeed) {
  const Scratch scratch;
  const LoadedModel first = random_model(scratch / "first", scored_moe(50), 1);
  const std::vector<CompareSpec> specs = {{.path = scratch / "first"},
                                          {.path = scratch / "first", .dtype = DType::kQ8_0}};
  const auto loaded = load_models(specs, 2);
  const TokenDocument document = random_text(50, 200);
  const ScoringText text = prepare_scoring(std::span(&document, 1), {.context = 32}, nullptr);
  CompareOptions options;
  options.speed = {.prompt_tokens = 8, .decode_tokens = 2, .rounds = 1};
  const Comparison comparison = compare_models(specs, loaded, text, options);
  const CompareRow &base = comparison.rows[0], &held = comparison.rows[1];
  EXPECT_EQ(held.name, "first q8_0");
  EXPECT_EQ(base.file_bytes, held.file_bytes);
  EXPECT_EQ(base.expert_bytes, 2u * 4 * 3 * 32 * 32 * 4);
  const std::uint64_t blocks = 2u * 4 * 3 * 32;  // of 32 bytes and a scale of two or four
  EXPECT_GE(held.expert_bytes, blocks * 34);
  EXPECT_LE(held.expert_bytes, blocks * 36);
  EXPECT_LT(held.active_bytes, base.active_bytes);
  EXPECT_GT(held.scores.divergence.kl_mean, 0);
  EXPECT_NEAR(held.scores.divergence.ln_ratio,
              held.scores.loss.mean_nll - base.scores.loss.mean_nll, 1e-9);
  EXPECT_GT(base.speed->prefill_per_core_second, 0);
  EXPECT_EQ(to_json(comparison).at("rows").size(), 2u);
  EXPECT_NE(compare_html(comparison, {.title = "t"}).find("first q8_0"), std::string::npos);
}

TEST(Compare, RefusesOtherVocabularies) {
  const Scratch scratch;
  random_model(scratch / "a", scored_moe(50), 1);
  random_model(scratch / "b", scored_moe(60), 1);
  EXPECT_TALPA_ERROR(load_models({{.path = scratch / "a"}, {.path = scratch / "b"}}, 1), kShape,
                     "50 tokens");
}

TEST(CompareSpec, ReadsAType) {
  EXPECT_EQ(parse_compare_spec("some/model").path, "some/model");
  const CompareSpec spec = parse_compare_spec("some@odd/model@q4_0");
  EXPECT_EQ(spec.path, "some@odd/model");
  EXPECT_EQ(spec.dtype, DType::kQ4_0);
  EXPECT_TALPA_ERROR(parse_compare_spec("model@q99"), kUsage, "no type 'q99'");
}

}  // namespace
}  // namespace talpa
