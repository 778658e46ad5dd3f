#include "talpa/eval/windows.h"

#include <gtest/gtest.h>

#include <numeric>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa {
namespace {

using testing::Scratch;

TokenDocument counting(int count) {
  TokenDocument document;
  document.tokens.resize(static_cast<std::size_t>(count));
  std::iota(document.tokens.begin(), document.tokens.end(), 0);
  return document;
}

struct CutCase {
  int tokens, context, stride;
  std::size_t windows, scored;
};
class Cut : public ::testing::TestWithParam<CutCase> {};

TEST_P(Cut, ScoresTokensAtMostOnceWithTheirContext) {
  const CutCase& c = GetParam();
  const TokenDocument document = counting(c.tokens);
  const auto windows =
      make_windows(std::span(&document, 1), {.context = c.context, .stride = c.stride});
  EXPECT_EQ(windows.size(), c.windows);
  std::vector<int> visits(document.tokens.size());
  for (const Window& window : windows) {
    EXPECT_LE(window.tokens.size(), static_cast<std::size_t>(c.context));
    EXPECT_GE(window.first_scored, 1u);
    for (std::size_t i = 1; i < window.tokens.size(); ++i)
      EXPECT_EQ(window.tokens[i], window.tokens[i - 1] + 1);
    for (std::size_t i = window.first_scored; i < window.tokens.size(); ++i)
      ++visits[static_cast<std::size_t>(window.tokens[i])];
  }
  EXPECT_LE(*std::max_element(visits.begin(), visits.end()), 1);
  EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), std::size_t{0}), c.scored);
}
INSTANTIATE_TEST_SUITE_P(Cases, Cut,
                         ::testing::Values(CutCase{10, 5, 0, 2, 8}, CutCase{10, 5, 4, 3, 9},
                                           CutCase{11, 5, 5, 2, 8}, CutCase{12, 5, 5, 3, 9},
                                           CutCase{10, 5, 1, 6, 9}, CutCase{3, 5, 0, 1, 2},
                                           CutCase{2, 512, 256, 1, 1}));

TEST(Windows, LlamaCppScoresTheSecondHalfOfWholeWindows) {
  const TokenDocument document = counting(21);
  const auto windows =
      make_windows(std::span(&document, 1),
                   {.context = 8, .convention = WindowConvention::kLlamaCpp, .start_token = 99});
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows[1].tokens, (std::vector<TokenId>{99, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(windows[1].num_scored(), 3u);  // context - 1 - context/2
}

TEST(Windows, RefuseWhatCannotBeScored) {
  const TokenDocument one = counting(1), seven = counting(7);
  EXPECT_TALPA_ERROR(make_windows(std::span(&one, 1), {}), kFormat, "too short");
  EXPECT_TALPA_ERROR(make_windows(std::span(&seven, 1), {.context = 1}), kConfig, "context = 1");
  EXPECT_TALPA_ERROR(make_windows(std::span(&seven, 1), {.context = 4, .stride = 5}), kConfig,
                     "stride = 5");
  EXPECT_TALPA_ERROR(
      make_windows(std::span(&seven, 1), {.context = 8, .convention = WindowConvention::kLlamaCpp}),
      kFormat, "windows of 8");
}

TEST(Windows, GroupByDocumentsIfThereAreMany) {
  const std::vector<TokenDocument> few(3, counting(9)), many(40, counting(9));
  const auto few_clusters = clusters_of(make_windows(few, {.context = 5}));
  const auto many_clusters = clusters_of(make_windows(many, {.context = 5}));
  EXPECT_EQ(few_clusters, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(many_clusters[1], 0u);
  EXPECT_EQ(many_clusters.back(), 39u);
}

TEST(Documents, ComeFromPlainTextAndJsonLines) {
  const Scratch scratch;
  write_text(scratch / "a.txt", "one\ntwo\n");
  EXPECT_EQ(read_documents(scratch / "a.txt").at(0).text, "one\ntwo\n");
  write_text(scratch / "a.jsonl", "{\"text\": \"x\"}\n\n{\"text\": \"y\", \"domain\": \"d\"}");
  const auto documents = read_documents(scratch / "a.jsonl");
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[1].text, "y");
  EXPECT_EQ(documents[1].domain, "d");
}

TEST(Documents, ErrorsNameFileAndLine) {
  const Scratch scratch;
  const std::pair<const char*, const char*> cases[] = {
      {"{\"text\": \"x\"}\n{\"txt\": 1}", "a.jsonl:2: expected an object with a string `text`"},
      {"{\"text\": 3}", "a.jsonl:1: expected"},
      {"[1]", "a.jsonl:1: expected"},
      {"{\"text\": \"x\", \"domain\": 1}", "`domain` is not a string"},
      {"{\"text\": \"\"}", "there is no text"},
      {"nonsense", "a.jsonl:1: not JSON"}};
  for (const auto& [text, message] : cases) {
    write_text(scratch / "a.jsonl", text);
    EXPECT_TALPA_ERROR(read_documents(scratch / "a.jsonl"), kFormat, message);
  }
}

TEST(TokenIds, AreLittleEndianAndChecked) {
  const Scratch scratch;
  write_text(scratch / "a.u16", std::string("\x01\x00\x02\x01", 4));
  EXPECT_EQ(read_token_ids(scratch / "a.u16", 300).tokens, (std::vector<TokenId>{1, 258}));
  EXPECT_EQ(read_token_ids(scratch / "a.u16", 300, 1).tokens.size(), 1u);
  EXPECT_TALPA_ERROR(read_token_ids(scratch / "a.u16", 258), kFormat, "id 258 at byte 2");
  write_text(scratch / "a.u32", std::string("\xff\xff\xff\xff", 4));
  EXPECT_TALPA_ERROR(read_token_ids(scratch / "a.u32", 300), kFormat, "id 4294967295 at byte 0");
  write_text(scratch / "b.u32", "abc");
  EXPECT_TALPA_ERROR(read_token_ids(scratch / "b.u32", 300), kFormat, "3 bytes");
  EXPECT_TALPA_ERROR(read_token_ids(scratch / "a.bin", 300), kFormat, ".u16 or .u32");
}

}  // namespace
}  // namespace talpa
