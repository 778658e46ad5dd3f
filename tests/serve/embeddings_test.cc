#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "serve/served_model.h"
#include "talpa/engine/embedding.h"

namespace talpa::testing {
namespace {

const char* const kEmbeddings = "/v1/embeddings";

const ServedModel& embedder() {
  static const ServedModel served({.scheduler = {.parallel = 3, .step_tokens = 50}});
  return served;
}

std::vector<std::vector<float>> vectors_of(const Json& body) {
  const auto answer = embedder().post(kEmbeddings, body);
  EXPECT_EQ(answer.status, 200) << answer.body;
  std::vector<std::vector<float>> vectors;
  if (answer.status != 200) return vectors;
  EXPECT_EQ(answer.json["object"], "list");
  for (const Json& item : answer.json["data"]) {
    EXPECT_EQ(item["object"], "embedding");
    EXPECT_EQ(item["index"], vectors.size());
    vectors.push_back(item["embedding"].get<std::vector<float>>());
  }
  return vectors;
}

TEST(EmbeddingsTest, TextsAndTokensGiveTheVectorsOfTheModel) {
  const LoadedModel& loaded = ServedModel::reference_moe();
  const std::vector<std::string> texts = {"The city of", "In the year", "A river", "x"};
  std::vector<std::vector<TokenId>> ids;
  for (const auto& text : texts) ids.push_back(loaded.tokenizer->encode(text));
  const auto expected = embed_texts(*loaded.model, ids);  // numbers pass JSON to the last bit
  EXPECT_EQ(vectors_of({{"input", texts}}), expected);
  EXPECT_EQ(vectors_of({{"input", ids}}), expected);
  EXPECT_EQ(vectors_of({{"input", texts[1]}})[0], expected[1]);
  EXPECT_EQ(vectors_of({{"input", ids[2]}})[0], expected[2]);
  EXPECT_EQ(vectors_of({{"input", texts[0]}, {"dimensions", expected[0].size()}})[0], expected[0]);
}

TEST(EmbeddingsTest, Base64IsLittleEndianFloats) {
  const auto expected = vectors_of({{"input", "The city of"}})[0];
  const auto answer =
      embedder().post(kEmbeddings, {{"input", "The city of"}, {"encoding_format", "base64"}});
  const auto text = answer.json["data"][0]["embedding"].get<std::string>();
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : text.substr(0, text.find('='))) {
    held = held << 6 | static_cast<std::uint32_t>(digits.find(c));
    if ((bits += 6) >= 8) bytes += static_cast<char>(held >> (bits -= 8) & 255);
  }
  ASSERT_EQ(bytes.size(), expected.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(bytes.data(), expected.data(), bytes.size()), 0);
}

TEST(EmbeddingsTest, CountsTokensAndTakesManyTexts) {
  const std::vector<std::string> texts(40, "The old town");
  const auto answer = embedder().post(kEmbeddings, {{"input", texts}, {"model", "any"}});
  const auto each = ServedModel::reference_moe().tokenizer->encode(texts[0]).size();
  EXPECT_EQ(answer.json["usage"]["prompt_tokens"], 40 * each);
  EXPECT_EQ(answer.json["usage"]["total_tokens"], 40 * each);
  EXPECT_EQ(answer.json["model"], "moe");
  EXPECT_EQ(answer.json["data"][39]["embedding"], answer.json["data"][0]["embedding"]);
}

TEST(EmbeddingsTest, LongTextsAreRefusedOrCut) {
  const std::vector<TokenId> exact(1024, 7), longer(1025, 7);
  const auto refused = embedder().post(kEmbeddings, {{"input", longer}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(vectors_of({{"input", longer}, {"truncate", true}}), vectors_of({{"input", exact}}));
}

TEST(EmbeddingsTest, EveryBadFieldIsNamed) {
  const std::pair<std::string, std::string> refusals[] = {
      {"{}", "input"},
      {R"({"input":""})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":["a",""]})", "input"},
      {R"({"input":[[1],[]]})", "input"},
      {R"({"input":7})", "input"},
      {R"({"input":[1.5]})", "input"},
      {R"({"input":[4096]})", "input"},
      {R"({"input":[-1]})", "input"},
      {R"({"input":["a",[[1]]]})", "input"},
      {R"({"input":"a","encoding_format":"hex"})", "encoding_format"},
      {R"({"input":"a","encoding_format":1})", "encoding_format"},
      {R"({"input":"a","dimensions":7})", "dimensions"},
      {R"({"input":"a","dimensions":-1})", "dimensions"},
      {R"({"input":"a","truncate":"yes"})", "truncate"},
      {Json{{"input", std::vector<std::string>(2049, "a")}}.dump(), "input"},
  };
  for (const auto& [body, param] : refusals) {
    const auto answer = embedder().post(kEmbeddings, body);
    EXPECT_EQ(answer.status, 400) << body.substr(0, 80);
    EXPECT_EQ(answer.json["error"]["param"], param) << body.substr(0, 80) << answer.body;
  }
}

}  // namespace
}  // namespace talpa::testing
