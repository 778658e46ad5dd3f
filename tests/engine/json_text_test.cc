#include <gtest/gtest.h>

#include <cmath>

#include "engine/json_oracle.h"
#include "engine/random_model.h"
#include "talpa/engine/continuation.h"
#include "text/fallback_tokenizer.h"

namespace talpa::testing {
namespace {

std::shared_ptr<const Tokenizer> small_tokenizer() {
  static const auto tokenizer =
      Tokenizer::from_file(TALPA_SOURCE_DIR "/models/tokenizer-4k/tokenizer.json");
  return tokenizer;
}

TEST(JsonTokensTest, BytesAreWhatDecodingAdds) {
  const auto tokenizer = small_tokenizer();
  const JsonTokens tokens(*tokenizer);
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    std::vector<TokenId> ids;
    std::string bytes;
    for (int k = 0; k < 12; ++k) {
      ids.push_back(static_cast<TokenId>(random.below(4096)));
      bytes += tokens.bytes(ids.back());
    }
    ASSERT_EQ(bytes, tokenizer->decode(ids));
  }
  EXPECT_EQ(tokens.bytes(-1), "");
  EXPECT_EQ(tokens.bytes(1 << 30), "");
}

TEST(JsonTokensTest, SingleBytesAndSpacesOfSentencePiece) {
  const auto tokenizer = fallback_tokenizer();
  const JsonTokens tokens(*tokenizer);
  auto bytes = [&](const char* token) { return tokens.bytes(tokenizer->id_of(token).value()); };
  EXPECT_EQ(bytes("<0x80>"), "\x80");
  EXPECT_EQ(bytes("<0xE2>"), "\xe2");
  EXPECT_EQ(bytes("<0x7B>"), "{");
  EXPECT_EQ(bytes("\xe2\x96\x81{"), " {");
  EXPECT_EQ(bytes("a"), "a");
  EXPECT_EQ(bytes("<unk>"), "");
}

/// The mask is what trying every token's bytes gives.
TEST(JsonTokensTest, MaskLeavesWhatCanFollow) {
  const auto tokenizer = small_tokenizer();
  const JsonTokens tokens(*tokenizer);
  for (const char* text : {"", "{", "{\"", "{\"a", "{\"a\\", "{\"a\\u00", "{\"a\":", "{\"a\":1",
                           "{\"a\":[tr", "{\"a\":{\"b\":[[1, 2", "{\"a\xe2\x82"}) {
    JsonAcceptor acceptor;
    ASSERT_TRUE(acceptor.push(text)) << text;
    std::vector<float> logits(4100, 1.0f);
    EXPECT_TRUE(tokens.mask(acceptor, logits));
    for (TokenId id = 0; id < 4100; ++id) {
      JsonAcceptor tried = acceptor;
      const bool follows = !tokens.bytes(id).empty() && tried.push(tokens.bytes(id));
      ASSERT_EQ(std::isfinite(logits[static_cast<std::size_t>(id)]), follows) << text << " " << id;
    }
  }
}

void expect_json(const Generation& result, const std::string& what) {
  if (result.finish == FinishReason::kStop) {
    EXPECT_TRUE(is_json_object(result.text)) << what << result.text;
    return;
  }
  // A character may have been cut, and stands as U+FFFD.
  const JsonVerdict verdict = judge_json(result.text);
  EXPECT_EQ(verdict.last, JsonStep::kTaken) << what << result.text;
  EXPECT_FALSE(verdict.complete()) << what << result.text;
}

/// Hot samples of a model of random weights, half of them drawn to signs that end things.
int sample_json(std::shared_ptr<const Tokenizer> tokenizer, std::uint64_t count) {
  const Scratch scratch;
  DecoderConfig config = small_config(Family::kLlama);
  config.vocab_size = tokenizer->vocab_size() + 3;  // ids without a token are not taken
  config.eos_tokens = {5};
  LoadedModel loaded = random_model(config, scratch);
  loaded.tokenizer = tokenizer;
  GenerateOptions options{.max_tokens = 120, .json = std::make_shared<JsonTokens>(*tokenizer)};
  int complete = 0;
  for (std::uint64_t seed = 0; seed < count; ++seed) {
    options.sampler = {.temperature = seed % 10 == 9 ? 0.0 : 2.0,
                       .top_k = seed % 3 == 1 ? 20 : 0,
                       .top_p = seed % 3 == 2 ? 0.5 : 1,
                       .seed = seed};
    if (seed % 2 == 0)
      for (const char* sign : {"\"", "}", "]", ":"})
        options.sampler.logit_bias.push_back({tokenizer->id_of(sign).value_or(-1), 14});
    const auto prompt = random_tokens(4, seed, config.vocab_size);
    const Generation result = generate(loaded, prompt, options);
    expect_json(result, fmt::format("seed {}: ", seed));
    complete += result.finish == FinishReason::kStop ? 1 : 0;
  }
  return complete;
}

TEST(JsonTextTest, HotSamplesAreObjectsOrBeginningsOfThem) {
  EXPECT_GE(sample_json(small_tokenizer(), 200), 20);
}

TEST(JsonTextTest, AndOfTokensThatAreBytes) { sample_json(fallback_tokenizer(), 40); }

TEST(JsonTextTest, WithoutATokenThatFollowsItFails) {
  const Scratch scratch;
  LoadedModel loaded = random_model(small_config(Family::kLlama), scratch);
  loaded.tokenizer = small_tokenizer();
  GenerateOptions options{.json = std::make_shared<JsonTokens>(*loaded.tokenizer)};
  options.sampler.temperature = 1;
  std::vector<float> none(101, 0.0f);
  Continuation continuation(loaded, std::vector<TokenId>{1}, options);
  EXPECT_TALPA_ERROR(continuation.sample(std::span(none).first(2)), kUnsupported, "JSON");
}

}  // namespace
}  // namespace talpa::testing
