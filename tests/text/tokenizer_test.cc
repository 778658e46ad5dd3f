#include "talpa/text/tokenizer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <thread>

#include "fallback_tokenizer.h"
#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/text/unicode.h"

namespace talpa {
namespace {

Json golden_json(const std::string& name) {
  return read_json(testing::golden("text/" + name + ".tokenizer.json"));
}

std::shared_ptr<const Tokenizer> open(const std::string& name) {
  return Tokenizer::from_json(golden_json(name), name);
}

/// The tokenizer of `name` with one value replaced.
void open_with(const std::string& name, const char* pointer, Json value) {
  Json json = golden_json(name);
  json[Json::json_pointer(pointer)] = std::move(value);
  Tokenizer::from_json(json, "test.json");
}

TEST(DecodeStream, HoldsBackACutCharacterAndNothingElse) {
  const auto tokenizer = open("byte_level");
  // Bytes alone, some of which begin characters, and a token of letters.
  std::vector<TokenId> choice = {*tokenizer->id_of("a")};
  for (const char* byte : {"\u00e2", "\u013e", "\u00ac", "\u00f0"})  // E2 9C AC F0
    choice.push_back(tokenizer->id_of(byte).value());
  EXPECT_TRUE(rc::check([&] {
    const auto ids = *rc::gen::container<std::vector<TokenId>>(rc::gen::elementOf(choice));
    DecodeStream stream(tokenizer);
    std::string told;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      told += stream.push(ids[i]);
      const std::string all = tokenizer->decode(std::span(ids).first(i + 1));
      const std::string whole = text::valid_utf8(all);
      RC_ASSERT(whole == told || whole == told + "\ufffd");
    }
    RC_ASSERT(told + stream.finish() == text::valid_utf8(tokenizer->decode(ids)));
  }));
}

TEST(DecodeStream, BytesOfFallbackTokensAreNeverHeldForLong) {
  const auto tokenizer = testing::fallback_tokenizer();
  const auto id = [&](const char* token) { return tokenizer->id_of(token).value(); };
  const std::vector<TokenId> choice = {id("<0xE2>"), id("<0x9C>"), id("<0xF0>"), id("a")};
  EXPECT_TRUE(rc::check([&] {
    const auto ids = *rc::gen::container<std::vector<TokenId>>(rc::gen::elementOf(choice));
    DecodeStream stream(tokenizer);
    int silent = 0;
    for (const TokenId next : ids) {
      const std::string piece = stream.push(next);
      RC_ASSERT(text::is_valid_utf8(piece));
      silent = piece.empty() ? silent + 1 : 0;
      RC_ASSERT(silent <= 3);
    }
    RC_ASSERT(text::is_valid_utf8(stream.finish()));
  }));
}

TEST(Tokenizer, SpecialTokensAreReadOnlyWhenAsked) {
  const auto tokenizer = open("byte_level");
  const TokenId end = *tokenizer->id_of("<|endoftext|>");
  EXPECT_EQ(tokenizer->encode("<|endoftext|>"), std::vector<TokenId>{end});
  const auto plain = tokenizer->encode("<|endoftext|>", true, false);
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer->decode(plain), "<|endoftext|>");
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{end}), "");
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{end}, false), "<|endoftext|>");
  EXPECT_TRUE(tokenizer->is_special(end));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_FALSE(tokenizer->is_special(plain[0]));
}

TEST(Tokenizer, FrameIsAddedOnlyWhenAsked) {
  const auto tokenizer = open("word_piece");
  const auto framed = tokenizer->encode("token", true), bare = tokenizer->encode("token", false);
  ASSERT_EQ(framed.size(), bare.size() + 2);
  EXPECT_EQ(tokenizer->token(framed.front()), "[CLS]");
  EXPECT_EQ(tokenizer->token(framed.back()), "[SEP]");
}

TEST(Tokenizer, IdsOutOfRangeAreErrors) {
  const auto tokenizer = open("byte_level");
  for (const TokenId id : {-1, tokenizer->vocab_size(), 1 << 30}) {
    EXPECT_TALPA_ERROR(tokenizer->token(id), kNotFound, std::to_string(id));
    EXPECT_TALPA_ERROR(tokenizer->decode(std::vector<TokenId>{id}), kNotFound, std::to_string(id));
  }
  EXPECT_EQ(tokenizer->id_of("no such token"), std::nullopt);
}

TEST(Tokenizer, BrokenBytesBecomeReplacementCharacters) {
  const auto tokenizer = open("byte_level");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xff\xe2\x82z")), "a\ufffd\ufffdz");
}

TEST(Tokenizer, UnknownPartsAreNamed) {
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/type", "WordLevel"), kUnsupported,
                     "WordLevel");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/dropout", 0.1), kUnsupported, "dropout");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/surprise", 1), kUnsupported, "surprise");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/extra", 1), kUnsupported, "extra");
  EXPECT_TALPA_ERROR(open_with("unigram", "/post_processor", Json{{"type", "Odd"}}), kUnsupported,
                     "Odd");
}

TEST(Tokenizer, BrokenFilesAreNamed) {
  const Json bad_merge = Json::array({Json::array({"zz", "qq"})});
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/merges", bad_merge), kFormat, "merge 0");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/merges", Json::array({"a b c"})), kFormat,
                     "merges[0]");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/vocab", Json{{"a", -1}}), kFormat, "id -1");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/vocab", Json{{"a", 1u << 31}}), kFormat,
                     "\"a\"");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/model/vocab", Json{{"a", 1}, {"b", 1}}), kFormat,
                     "id 1");
  EXPECT_TALPA_ERROR(open_with("byte_level", "/added_tokens/0/id", 77), kFormat, "added_tokens[0]");
  EXPECT_TALPA_ERROR(open_with("word_piece", "/model/unk_token", "[none]"), kFormat, "[none]");
  EXPECT_TALPA_ERROR(open_with("unigram", "/model/unk_id", 99999), kFormat, "99999");
  EXPECT_TALPA_ERROR(open_with("unigram", "/model/vocab/3", "x"), kFormat, "vocab[3]");
  EXPECT_TALPA_ERROR(Tokenizer::from_file("/no/such/file.json"), kNotFound, "/no/such/file.json");
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto tokenizer = open("byte_level");
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("token{} latent experts {} ", i, i * 7919);
  const auto expected = open("byte_level")->encode(text);
  std::vector<std::thread> threads;
  std::vector<std::vector<TokenId>> results(4);
  for (auto& result : results) threads.emplace_back([&] { result = tokenizer->encode(text); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, OpensATrainedModelsFile) {
  const auto path = testing::shared_data("models/qwen3moe-3m/tokenizer.json");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  const auto tokenizer = Tokenizer::from_file(path);
  EXPECT_EQ(tokenizer->vocab_size(), 8192);
  const std::string text = "The 42 experts don't share a latent space: naïve!\n\n";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

}  // namespace
}  // namespace talpa
