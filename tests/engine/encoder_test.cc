#include "talpa/engine/encoder.h"

#include <gtest/gtest.h>

#include <fstream>

#include "scratch.h"
#include "talpa/base/error.h"
#include "talpa/base/random.h"
#include "talpa/kernel/implementation.h"

namespace talpa::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kBert = golden("encoder/bert");

const Json& bert_expected() {
  static const Json json = read_json(kBert / "expected.json");
  return json;
}

std::vector<std::vector<TokenId>> bert_texts() {
  return bert_expected()["ids"].get<std::vector<std::vector<TokenId>>>();
}

/// A copy of the golden encoder, to be changed.
void copy_bert(const fs::path& to) {
  fs::create_directories(to);
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    fs::copy_file(kBert / name, to / name);
}

void expect_near(const std::vector<std::vector<float>>& vectors, const Json& expected,
                 double tolerance) {
  ASSERT_EQ(vectors.size(), expected.size());
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    const auto wanted = expected[i].get<std::vector<float>>();
    ASSERT_EQ(vectors[i].size(), wanted.size());
    for (std::size_t k = 0; k < wanted.size(); ++k)
      EXPECT_NEAR(vectors[i][k], wanted[k], tolerance) << "text " << i << ", " << k;
  }
}

TEST(EncoderTest, IsEqualToTransformers) {
  const LoadedEncoder loaded = load_encoder(kBert, {.threads = 2});
  const Json& texts = bert_expected()["texts"];
  for (std::size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(loaded.tokenizer->encode(texts[i].get<std::string>()), bert_texts()[i]);
  expect_near(loaded.encoder->embed(bert_texts()), bert_expected()["mean"], 2e-6);
}

TEST(EncoderTest, PoolsAsTheFolderSays) {
  const Scratch scratch;
  copy_bert(scratch / "m");
  fs::create_directory(scratch / "m/1_Pooling");
  std::ofstream(scratch / "m/1_Pooling/config.json")
      << R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})";
  const LoadedEncoder loaded = load_encoder(scratch / "m", {.threads = 2});
  EXPECT_EQ(loaded.files.config.pooling, Pooling::kFirst);
  expect_near(loaded.encoder->embed(bert_texts()), bert_expected()["first"], 2e-6);
  for (const char* bad :
       {R"({"pooling_mode_max_tokens": true})", R"({"pooling_mode_mean_tokens": 1})",
        R"({"pooling_mode_mean_tokens": false})"}) {
    std::ofstream(scratch / "m/1_Pooling/config.json") << bad;
    EXPECT_THROW(open_encoder(scratch / "m"), Error) << bad;
  }
}

TEST(EncoderTest, ModulesBehindPoolingAreNotLeftOutInSilence) {
  const Scratch scratch;
  copy_bert(scratch / "m");
  const std::string known = R"([{"type": "sentence_transformers.models.Transformer"},
    {"type": "sentence_transformers.models.Normalize"})";
  std::ofstream(scratch / "m/modules.json") << known << "]";
  EXPECT_NO_THROW(open_encoder(scratch / "m"));
  std::ofstream(scratch / "m/modules.json")
      << known << R"(, {"type": "sentence_transformers.models.Dense"}])";
  EXPECT_TALPA_ERROR(open_encoder(scratch / "m"), kUnsupported,
                     "sentence_transformers.models.Dense");
}

TEST(EncoderTest, AVectorDoesNotDependOnTheOthers) {
  const LoadedEncoder loaded = load_encoder(kBert, {.threads = 2});
  std::vector<std::vector<TokenId>> texts;
  for (int copies = 0; copies < 5; ++copies)
    for (const auto& text : bert_texts()) texts.push_back(text);
  const auto together = loaded.encoder->embed(texts);  // to the last bit, over several steps
  for (std::size_t i = 0; i < bert_texts().size(); ++i) {
    EXPECT_EQ(loaded.encoder->embed({&texts[i], 1})[0], together[i]);
    EXPECT_EQ(together[i + bert_texts().size()], together[i]);
  }
}

TEST(EncoderTest, RunsInFewerBits) {
  for (const DType type : {DType::kBF16, DType::kQ8_0}) {
    const LoadedEncoder loaded = load_encoder(kBert, {.weights = type, .threads = 1});
    expect_near(loaded.encoder->embed(bert_texts()), bert_expected()["mean"], 0.05);
    EXPECT_LT(loaded.encoder->weight_bytes(), load_encoder(kBert).encoder->weight_bytes());
  }
}

TEST(EncoderTest, RefusesTextsItCannotTake) {
  const LoadedEncoder loaded = load_encoder(kBert, {.threads = 1});
  const auto embed = [&](std::vector<TokenId> text) {
    return loaded.encoder->embed(std::vector<std::vector<TokenId>>{std::move(text)});
  };
  EXPECT_THROW(embed({}), Error);
  EXPECT_THROW(embed({320}), Error);
  EXPECT_THROW(embed({-1}), Error);
  EXPECT_THROW(embed(std::vector<TokenId>(161, 5)), Error);
  EXPECT_EQ(embed(std::vector<TokenId>(160, 5)).size(), 1u);
}

TEST(EncoderTest, KnowsAnEncoderByItsConfiguration) {
  EXPECT_TRUE(is_encoder(kBert));
  EXPECT_FALSE(is_encoder(fs::path(TALPA_SOURCE_DIR) / "models/reference-moe"));
  EXPECT_FALSE(is_encoder(kBert / "nothing"));
}

struct BrokenBert {
  const char* key;
  Json value;
  ErrorCode code;
};

TEST(EncoderTest, RefusesWhatChangesTheArithmetic) {
  const Json good = read_json(kBert / "config.json");
  EXPECT_EQ(from_hf_encoder_config(good, "c").num_heads, 4);
  for (const BrokenBert& broken :
       std::vector<BrokenBert>{{"hidden_act", "relu", ErrorCode::kUnsupported},
                               {"position_embedding_type", "relative_key", ErrorCode::kUnsupported},
                               {"is_decoder", true, ErrorCode::kUnsupported},
                               {"model_type", "roberta", ErrorCode::kUnsupported},
                               {"hidden_size", 50, ErrorCode::kFormat},
                               {"hidden_size", "48", ErrorCode::kFormat},
                               {"num_hidden_layers", 1 << 30, ErrorCode::kFormat},
                               {"num_attention_heads", 0, ErrorCode::kFormat},
                               {"vocab_size", nullptr, ErrorCode::kFormat}}) {
    Json json = good;
    json[broken.key] = broken.value;
    try {
      from_hf_encoder_config(json, "c");
      ADD_FAILURE() << broken.key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), broken.code) << error.what();
    }
  }
}

TEST(EncoderTest, MissingTensorsAreNamed) {
  const Scratch scratch;
  copy_bert(scratch / "m");
  Json config = read_json(kBert / "config.json");
  config["num_hidden_layers"] = 3;
  std::ofstream(scratch / "m/config.json") << config;
  try {
    open_encoder(scratch / "m");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_NE(std::string(error.what()).find("encoder.layer.2."), std::string::npos);
  }
  config["num_hidden_layers"] = 1;  // and what is left over
  std::ofstream(scratch / "m/config.json") << config;
  EXPECT_THROW(open_encoder(scratch / "m"), Error);
}

}  // namespace
}  // namespace talpa::testing
