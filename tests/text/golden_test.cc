#include <gtest/gtest.h>

#include <fstream>

#include "scratch.h"
#include "talpa/text/tokenizer.h"

namespace talpa {
namespace {

struct Case {
  std::string input;
  std::vector<TokenId> ids;
  std::string text;
};

/// Ids and decoded text written by Hugging Face's tokenizers (scripts/golden/text_golden.py).
std::vector<Case> read_cases(const std::string& name) {
  std::ifstream file(testing::golden("text/" + name + ".cases.jsonl"));
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    const Json json = parse_json(line, name);
    cases.push_back({json.at("s"), json.at("ids"), json.at("text")});
  }
  return cases;
}

std::string whole_text(const std::string& bytes) {
  Utf8Buffer buffer;
  std::string text = buffer.push(bytes);
  return text + buffer.finish();
}

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::from_file(testing::golden(std::string("text/") + GetParam() + ".tokenizer.json"));
  std::vector<Case> cases_ = read_cases(GetParam());
};

TEST_P(Golden, IdsAreThoseOfTheOriginal) {
  ASSERT_GE(cases_.size(), 250u);
  for (const Case& c : cases_) EXPECT_EQ(tokenizer_->encode(c.input), c.ids) << c.input;
}

TEST_P(Golden, TextIsThatOfTheOriginal) {
  for (const Case& c : cases_)
    EXPECT_EQ(whole_text(tokenizer_->decode(c.ids, false)), c.text) << c.input;
}

TEST_P(Golden, StreamedTextIsTheWholeText) {
  const bool joins_words =
      std::string_view(GetParam()) == "word_piece" || std::string_view(GetParam()) == "mixed";
  if (joins_words) GTEST_SKIP() << "spaces between words depend on the word behind";
  for (const Case& c : cases_) {
    DecodeStream stream(tokenizer_, false);
    std::string text;
    for (const TokenId id : c.ids) text += stream.push(id);
    EXPECT_EQ(text + stream.finish(), c.text) << c.input;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Golden,
                         ::testing::Values("byte_level", "llama3", "llama_prepend",
                                           "llama_metaspace", "word_piece", "unigram",
                                           "unigram_bytes", "mixed"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace talpa
