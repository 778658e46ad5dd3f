#include "talpa/text/bpe_trainer.h"

#include <gtest/gtest.h>

#include <fstream>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/text/tokenizer.h"

namespace talpa {
namespace {

Json train(const std::vector<std::string>& documents, int vocab_size) {
  BpeTrainer trainer({.vocab_size = vocab_size});
  for (const std::string& document : documents) trainer.add(document);
  return trainer.train();
}

Json merges_of(const Json& tokenizer) { return tokenizer.at("model").at("merges"); }

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  const Json merges = merges_of(train({"low low low lower lower newest newest"}, 264));
  EXPECT_EQ(merges[0], Json::array({"l", "o"}));
  EXPECT_EQ(merges[1], Json::array({"lo", "w"}));
}

TEST(BpeTrainer, LearnsWhatHuggingFaceLearns) {
  std::ifstream file(testing::golden("text/trainer.jsonl"));
  std::vector<std::string> documents;
  std::string line;
  std::getline(file, line);
  const Json expected = parse_json(line, "trainer.jsonl");
  while (std::getline(file, line)) documents.push_back(parse_json(line, "trainer.jsonl"));
  ASSERT_GT(documents.size(), 100u);
  const Json made = train(documents, 700);
  EXPECT_EQ(merges_of(made), expected.at("merges"));
  EXPECT_EQ(made.at("model").at("vocab"), expected.at("vocab"));
}

TEST(BpeTrainer, SameTextGivesTheSameFile) {
  const std::vector<std::string> documents = {"aaaa bbbb aaaa", "abab abab cdcd cdcd", "été été"};
  EXPECT_EQ(train(documents, 300).dump(), train(documents, 300).dump());
}

TEST(BpeTrainer, StopsWhenNothingIsFrequent) {
  const Json made = train({"abc"}, 1000);
  EXPECT_EQ(merges_of(made).size(), 0u);
  EXPECT_EQ(made.at("model").at("vocab").size(), 257u);
}

TEST(BpeTrainer, ReportsProgress) {
  BpeTrainer trainer({.vocab_size = 262});
  trainer.add("hello hello hello world world world");
  std::int64_t last = 0, all = 0;
  trainer.train([&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(done, last + 1);
    last = done;
    all = total;
  });
  EXPECT_EQ(last, 5);
  EXPECT_EQ(all, 5);
}

TEST(BpeTrainer, RefusesImpossibleSettings) {
  EXPECT_TALPA_ERROR(BpeTrainer({.vocab_size = 256}), kConfig, "vocab_size");
  EXPECT_TALPA_ERROR(BpeTrainer({.min_frequency = 0}), kConfig, "min_frequency");
  EXPECT_TALPA_ERROR(BpeTrainer({.special_tokens = {"<a>", "<a>"}}), kConfig, "special_tokens");
}

/// Random text of every length of UTF-8 character.
std::string random_text(Random& random) {
  constexpr char32_t kBlocks[] = {0x20, 0x41, 0xc0, 0x300, 0x4e00, 0x1f600, 0x2028, 0x0};
  std::u32string codes;
  for (std::uint64_t n = random.below(40); n > 0; --n)
    codes.push_back(kBlocks[random.below(8)] + static_cast<char32_t>(random.below(64)));
  std::string text;
  for (const char32_t c : codes) {
    const Json json =
        parse_json(c < 0x10000 ? fmt::format("\"\\u{:04x}\"", static_cast<unsigned>(c))
                               : fmt::format("\"\\u{:04x}\\u{:04x}\"",
                                             0xd7c0 + (static_cast<unsigned>(c) >> 10),
                                             0xdc00 + (static_cast<unsigned>(c) & 0x3ff)),
                   "random");
    text += json.get<std::string>();
  }
  return text;
}

TEST(BpeTrainer, EveryTextSurvivesItsTokenizer) {
  const auto tokenizer = Tokenizer::from_json(
      train({"the cat sat on the mat, the cat did", "zażółć gęślą"}, 300), "t");
  Random random(3, "round trip");
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

}  // namespace
}  // namespace talpa
