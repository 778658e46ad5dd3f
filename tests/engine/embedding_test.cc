#include "talpa/engine/embedding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/random_model.h"
#include "talpa/engine/scheduler.h"

namespace talpa::testing {
namespace {

const LoadedModel& embedding_model() {
  static const LoadedModel loaded =
      load_model(std::filesystem::path(TALPA_SOURCE_DIR) / "models/reference-moe", {.threads = 2});
  return loaded;
}

std::vector<std::vector<TokenId>> some_texts(int count) {
  std::vector<std::vector<TokenId>> texts;
  for (int i = 0; i < count; ++i)
    texts.push_back(random_tokens(1 + 37 * i % 200, static_cast<std::uint64_t>(50 + i), 4096));
  return texts;
}

std::vector<std::vector<float>> scheduled(Scheduler& scheduler,
                                          const std::vector<std::vector<TokenId>>& texts) {
  std::vector<CompletionRequest> requests;
  for (const auto& text : texts)
    requests.push_back({.prompt = text, .generate = {.max_tokens = 0}, .embed = true});
  std::vector<std::vector<float>> vectors(texts.size());
  const auto completions = scheduler.submit(std::move(requests));
  while (!completions->finished())
    if (auto event = completions->next(std::chrono::seconds(20)))
      vectors[event->index] = event->embedding;
  return vectors;
}

TEST(EmbeddingTest, IsTheMeanBehindTheLastNormAtLengthOne) {
  Model& model = *embedding_model().model;
  const auto texts = some_texts(1 + 3);
  const auto vectors = embed_texts(model, texts);
  // Token by token, each with a sum of its own.
  std::vector<double> mean(static_cast<std::size_t>(model.config().dim));
  KvCache cache(model, static_cast<int>(texts[3].size()));
  for (const TokenId& token : texts[3]) {
    std::vector<double> hidden(mean.size());
    const SequenceInput input{&cache, {&token, 1}, LogitsWanted::kNone, hidden};
    EXPECT_TRUE(model.forward({&input, 1}).empty());
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += hidden[i];
  }
  double length = 0, dot = 0;
  const auto expected = unit_vector(mean);
  for (std::size_t i = 0; i < mean.size(); ++i) {
    length += static_cast<double>(vectors[3][i]) * vectors[3][i];
    dot += static_cast<double>(vectors[3][i]) * expected[i];
  }
  EXPECT_NEAR(length, 1, 1e-6);
  EXPECT_NEAR(dot, 1, 1e-6);
}

/// To the last bit, in small steps and beside requests that generate.
TEST(EmbeddingTest, DoesNotDependOnTheOthers) {
  const auto texts = some_texts(20);
  const auto expected = embed_texts(*embedding_model().model, texts);
  Scheduler scheduler(embedding_model(), {.parallel = 6, .step_tokens = 40});
  CompletionRequest other;
  other.prompt = texts[5];
  other.generate = {.max_tokens = 60, .ignore_eos = true};
  const auto generating = scheduler.submit({other});
  EXPECT_EQ(scheduled(scheduler, texts), expected);
  EXPECT_EQ(scheduled(scheduler, {texts[7]})[0], expected[7]);
  std::string text;
  while (!generating->finished())
    if (const auto event = generating->next(std::chrono::seconds(20))) text += event->text;
  EXPECT_EQ(text, generate(embedding_model(), other.prompt, other.generate).text);
}

TEST(EmbeddingTest, TakesNothingFromThePrefixesOfOthers) {
  Scheduler scheduler(embedding_model(), {.parallel = 2});
  const auto text = random_tokens(400, 3, 4096);
  CompletionRequest first;
  first.prompt = text;
  first.generate = {.max_tokens = 1, .ignore_eos = true};
  for (int i = 0; i < 2; ++i) {
    const auto completions = scheduler.submit({first});
    while (!completions->finished()) completions->next(std::chrono::seconds(20));
  }
  EXPECT_GT(scheduler.stats().cached_tokens, 0u);
  EXPECT_EQ(scheduled(scheduler, {text})[0],
            embed_texts(*embedding_model().model, std::vector<std::vector<TokenId>>{text})[0]);
}

TEST(EmbeddingTest, RefusesWhatHasNoVector) {
  EXPECT_THROW(embed_texts(*embedding_model().model, std::vector<std::vector<TokenId>>{{}}), Error);
  EXPECT_THROW(unit_vector(std::vector<double>{NAN, 1}), Error);
  EXPECT_EQ(unit_vector(std::vector<double>{0, 0}), (std::vector<float>{0, 0}));
  EXPECT_EQ(unit_vector(std::vector<double>{3, -4}), (std::vector<float>{0.6f, -0.8f}));
  Scheduler scheduler(embedding_model(), {.parallel = 2});
  CompletionRequest generates;
  generates.prompt = {1, 2};
  generates.embed = true;
  EXPECT_THROW(scheduler.submit({generates}), Error);
}

}  // namespace
}  // namespace talpa::testing
