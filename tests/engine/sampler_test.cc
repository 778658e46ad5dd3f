#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "scratch.h"
#include "talpa/engine/generate.h"

namespace talpa::testing {
namespace {

/// How often each id comes in 4000 draws.
std::map<TokenId, int> draw(const SamplerOptions& options, const std::vector<float>& logits,
                            const std::vector<TokenId>& history = {}) {
  Sampler sampler(options);
  std::map<TokenId, int> counts;
  for (int i = 0; i < 4000; ++i) ++counts[sampler.sample(logits, history)];
  return counts;
}

std::vector<TokenId> ids_of(const std::map<TokenId, int>& counts) {
  std::vector<TokenId> ids;
  for (const auto& [id, count] : counts) ids.push_back(id);
  return ids;
}

// Probabilities 0.1, 0.4, 0.2, 0.3.
const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};

TEST(SamplerTest, GreedyTakesTheBestAndTiesGoToTheLowestId) {
  EXPECT_EQ(Sampler({}).sample(kLogits, {}), 1);
  EXPECT_EQ(Sampler({}).sample(std::vector<float>{0, 2, 1, 2}, {}), 1);
}

struct Filter {
  const char* name;
  SamplerOptions options;
  std::vector<TokenId> kept;
};

TEST(SamplerTest, FiltersKeepWhatTheyShould) {
  const std::vector<Filter> filters = {
      {"none", {.temperature = 1}, {0, 1, 2, 3}},
      {"top_k 2", {.temperature = 1, .top_k = 2}, {1, 3}},
      {"top_k beyond the vocabulary", {.temperature = 1, .top_k = 9}, {0, 1, 2, 3}},
      {"top_p 0.69", {.temperature = 1, .top_p = 0.69}, {1, 3}},
      {"top_p 0.71", {.temperature = 1, .top_p = 0.71}, {1, 2, 3}},
      {"top_p tiny", {.temperature = 1, .top_p = 1e-9}, {1}},
      {"min_p 0.45", {.temperature = 1, .min_p = 0.45}, {1, 2, 3}},
      {"min_p 1", {.temperature = 1, .min_p = 1}, {1}},
      {"top_k then top_p", {.temperature = 1, .top_k = 3, .top_p = 0.75}, {1, 3}},
      {"cold", {.temperature = 0.01}, {1}}};
  for (const Filter& f : filters) EXPECT_EQ(ids_of(draw(f.options, kLogits)), f.kept) << f.name;
}

TEST(SamplerTest, DrawsInProportion) {
  const auto counts = draw({.temperature = 1}, kLogits);
  EXPECT_NEAR(counts.at(1), 1600, 130);
  EXPECT_NEAR(counts.at(0), 400, 90);
  const auto hot = draw({.temperature = 2}, kLogits);
  const double sum = std::sqrt(0.1) + std::sqrt(0.4) + std::sqrt(0.2) + std::sqrt(0.3);
  EXPECT_NEAR(hot.at(1), 4000 * std::sqrt(0.4) / sum, 130);
}

TEST(SamplerTest, TopPOverAWideVocabulary) {
  std::vector<float> logits(5000, 0.0f);
  const auto kept = draw({.temperature = 1, .top_p = 0.1}, logits);
  EXPECT_LE(kept.rbegin()->first, 500);  // equal logits: the lowest ids, a tenth of the mass
  EXPECT_GT(kept.size(), 450u);
}

TEST(SamplerTest, PenaltyLowersWhatWasSaid) {
  const SamplerOptions options{.repeat_penalty = 2, .repeat_last = 2};
  const std::vector<float> logits = {3, 5, -1, 4};
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<TokenId>{1}), 3);
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<TokenId>{1, 3}), 0);
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<TokenId>{1, 0, 0}),
            1);  // 1 is too long ago
  const std::vector<float> negative = {-3, -2};
  EXPECT_EQ(Sampler(options).sample(negative, std::vector<TokenId>{1, 1}), 0);
}

/// Of what was generated only: the prompt's tokens keep their logits.
TEST(SamplerTest, PresenceAndFrequencyCountGeneratedTokens) {
  const std::vector<float> logits = {3, 5, 4.5, -1};
  const std::vector<TokenId> history = {1, 1, 2, 2};
  EXPECT_EQ(Sampler({.presence_penalty = 1}).sample(logits, history, 4), 1);
  EXPECT_EQ(Sampler({.presence_penalty = 1}).sample(logits, history, 2), 1);
  EXPECT_EQ(Sampler({.presence_penalty = 1}).sample(logits, std::vector<TokenId>{2, 1}, 1), 2);
  EXPECT_EQ(Sampler({.presence_penalty = 4}).sample(logits, history, 4), 0);
  EXPECT_EQ(Sampler({.frequency_penalty = 0.9}).sample(logits, std::vector<TokenId>{1, 1, 2}, 3),
            2);
}

TEST(SamplerTest, BiasesAreAdded) {
  const SamplerOptions options{.logit_bias = {{1, -100}, {3, 2.5}, {99, 7}}};
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{3, 5, 4, 2}, {}), 3);
  EXPECT_TALPA_ERROR(Sampler({.logit_bias = {{1, std::nan("")}}}), kConfig, "logit_bias");
}

TEST(SamplerTest, SameSeedSameTokens) {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<TokenId> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.sample(kLogits, {}));
    return ids;
  };
  EXPECT_EQ(sequence(5), sequence(5));
  EXPECT_NE(sequence(5), sequence(6));
}

TEST(SamplerTest, RefusesBadSettingsAndBrokenLogits) {
  EXPECT_TALPA_ERROR(Sampler({.temperature = -1}), kConfig, "sampler.temperature");
  EXPECT_TALPA_ERROR(Sampler({.top_p = 0}), kConfig, "sampler.top_p");
  EXPECT_TALPA_ERROR(Sampler({.min_p = 2}), kConfig, "sampler.min_p");
  EXPECT_TALPA_ERROR(Sampler({.repeat_penalty = 0}), kConfig, "sampler.repeat_penalty");
  const std::vector<float> broken(4, -std::numeric_limits<float>::infinity());
  EXPECT_TALPA_ERROR(Sampler({}).sample(broken, {}), kFormat, "not finite");
}

}  // namespace
}  // namespace talpa::testing
