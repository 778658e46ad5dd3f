#include <gtest/gtest.h>

#include <fstream>

#include "scratch.h"
#include "talpa/format/gguf.h"
#include "talpa/text/tokenizer.h"

namespace talpa {
namespace {

using Metadata = std::vector<std::pair<std::string, Json>>;

std::shared_ptr<const Tokenizer> open_gguf(const std::filesystem::path& path) {
  return Tokenizer::from_gguf(*GgufFile::open(path));
}

/// A GGUF without tensors: a tiny byte-level vocabulary, then `changes` (null removes a key).
std::shared_ptr<const Tokenizer> tiny(const testing::Scratch& scratch, const Metadata& changes) {
  std::map<std::string, Json> keys = {
      {"model", "gpt2"},
      {"pre", "gpt-2"},
      {"tokens", {"<s>", "a", "b", "ab", "\u0120", "1", "12", "123", "<user>", "2", "3"}},
      {"token_type", {3, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1}},
      {"merges", {"a b", "1 2", "12 3"}},
      {"bos_token_id", 0}};
  for (const auto& [key, value] : changes) keys[key] = value;
  Metadata metadata = {{"general.architecture", "llama"}};
  for (const auto& [key, value] : keys)
    if (!value.is_null()) metadata.emplace_back("tokenizer.ggml." + key, value);
  GgufWriter(scratch / "t.gguf", metadata, {}).finish();
  return open_gguf(scratch / "t.gguf");
}

TEST(GgufTokenizer, ByteLevelAgreesWithItsJson) {
  const auto gguf = open_gguf(testing::golden("text/byte_level.gguf"));
  const auto json = Tokenizer::from_file(testing::golden("text/byte_level.tokenizer.json"));
  std::ifstream file(testing::golden("text/byte_level.cases.jsonl"));
  int compared = 0;
  for (std::string line; std::getline(file, line); ++compared) {
    const std::string text = parse_json(line, "cases").at("s");
    // Added tokens that take white space or stand alone cannot be told in a GGUF.
    if (text.find("<user>") != std::string::npos || text.find("<left>") != std::string::npos ||
        text.find("<right>") != std::string::npos)
      continue;
    const auto ids = gguf->encode(text);
    EXPECT_EQ(ids, json->encode(text)) << text;
    EXPECT_EQ(gguf->decode(ids), json->decode(ids)) << text;
  }
  EXPECT_GE(compared, 250);
}

TEST(GgufTokenizer, SentencePieceIdsAreTheOriginals) {
  const auto tokenizer = open_gguf(testing::golden("text/llama.gguf"));
  std::ifstream file(testing::golden("text/llama_gguf.cases.jsonl"));
  int compared = 0;
  for (std::string line; std::getline(file, line); ++compared) {
    const Json json = parse_json(line, "cases");
    const std::string text = json.at("s");
    const std::vector<TokenId> expected = json.at("ids");
    const auto ids = tokenizer->encode(text, true, false);
    EXPECT_EQ(ids, expected) << text;
    // The mark of a space, written in the text, comes back as a space.
    if (text.find("\u2581") != std::string::npos) continue;
    EXPECT_EQ(tokenizer->decode(ids), text);
  }
  EXPECT_GE(compared, 250);
}

TEST(GgufTokenizer, KindsOfPreTokenizerCutDifferently) {
  const testing::Scratch scratch;
  const auto size = [&](const char* pre, const char* text) {
    return tiny(scratch, {{"pre", pre}})->encode(text, false).size();
  };
  EXPECT_EQ(size("gpt-2", "123"), 1u);
  EXPECT_EQ(size("smollm", "123"), 3u);
  EXPECT_EQ(size("qwen2", "123"), 3u);
  EXPECT_EQ(size("llama-bpe", "1231"), 2u);
  EXPECT_EQ(size("default", "1231"), 2u);
  EXPECT_EQ(size("olmo", "ab"), 1u);
}

TEST(GgufTokenizer, FrameAndTypesAreKept) {
  const testing::Scratch scratch;
  EXPECT_EQ(tiny(scratch, {})->encode("ab"), std::vector<TokenId>{3});
  const auto framed = tiny(scratch, {{"add_bos_token", true}});
  EXPECT_EQ(framed->encode("<user>ab"), (std::vector<TokenId>{0, 8, 3}));
  EXPECT_EQ(framed->encode("ab<user>", false, false), (std::vector<TokenId>{3, 8}));
  EXPECT_TRUE(framed->is_special(0));
  EXPECT_FALSE(framed->is_special(8));
  EXPECT_EQ(tiny(scratch, {{"pre", "llama-bpe"}})->encode("a"), (std::vector<TokenId>{0, 1}));
}

TEST(GgufTokenizer, BrokenMetadataIsNamed) {
  const testing::Scratch scratch;
  const auto open = [&](const char* key, Json value) { tiny(scratch, {{key, std::move(value)}}); };
  EXPECT_TALPA_ERROR(open("pre", "surprise"), kUnsupported, "\"surprise\"");
  EXPECT_TALPA_ERROR(open("model", "bert"), kUnsupported, "\"bert\"");
  EXPECT_TALPA_ERROR(open("tokens", nullptr), kFormat, "tokenizer.ggml.tokens: missing");
  EXPECT_TALPA_ERROR(open("token_type", Json::array({1, 2})), kFormat, "2 types of 11 tokens");
  EXPECT_TALPA_ERROR(open("merges", Json::array({"a q"})), kFormat, "\"q\"");
  EXPECT_TALPA_ERROR(open("merges", Json::array({"ab"})), kFormat, "merges");
  EXPECT_TALPA_ERROR(open("model", "llama"), kFormat, "scores");
  EXPECT_TALPA_ERROR((tiny(scratch, {{"add_bos_token", true}, {"bos_token_id", 99}})), kFormat,
                     "bos_token_id");
}

TEST(GgufTokenizer, OpensSmolLm2) {
  const auto path =
      std::filesystem::path(TALPA_SOURCE_DIR) / ".assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  const auto tokenizer = open_gguf(path);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->encode("<|im_start|>").size(), 1u);
  const std::string text = "It's 2024, naïve 日本語 👍🏽\r\n   end";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

}  // namespace
}  // namespace talpa
