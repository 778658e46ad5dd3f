#include "talpa/serve/token_text.h"

#include <gtest/gtest.h>

#include "text/fallback_tokenizer.h"

namespace talpa::testing {
namespace {

TEST(TokenTextTest, TextsAndOffsetsOfSentencePieceTokens) {
  const auto tokenizer = fallback_tokenizer();
  std::vector<TokenLogprob> scores;
  for (const char* token : {"\xe2\x96\x81{", "a", "\xe2\x96\x81:", "<0xE2>", "a"})
    scores.push_back({.token = tokenizer->id_of(token).value(), .logprob = -1, .top = {}});
  std::size_t offset = 0;
  const Json prompt = serve::completion_logprobs(*tokenizer, scores, true, offset);
  EXPECT_EQ(prompt["tokens"], Json({"{", "a", " :", "bytes:\\xe2", "a"}));
  EXPECT_EQ(prompt["text_offset"], Json({0, 1, 2, 4, 5}));
  EXPECT_TRUE(prompt["token_logprobs"][0].is_null());
  EXPECT_EQ(prompt["top_logprobs"][2], Json({{" :", -1.0f}}));

  // What follows a prompt keeps the space of its first token.
  const Json answer = serve::completion_logprobs(*tokenizer, {scores.data(), 2}, false, offset);
  EXPECT_EQ(answer["tokens"], Json({" {", "a"}));
  EXPECT_EQ(answer["text_offset"], Json({6, 8}));
  EXPECT_EQ(serve::chat_logprobs(*tokenizer, {&scores[3], 1})["content"][0]["bytes"],
            Json::array({0xe2}));
  EXPECT_EQ(serve::token_text(*tokenizer, 1 << 20), "");
  scores[0].token = 1 << 20;  // vocabularies of models are padded
  EXPECT_EQ(serve::completion_logprobs(*tokenizer, {scores.data(), 1}, true, offset)["tokens"],
            Json::array({""}));
}

}  // namespace
}  // namespace talpa::testing
