#include <gmock/gmock.h>

#include <cmath>

#include "model/checkpoint.h"
#include "model/configs.h"
#include "talpa/format/gguf.h"

namespace talpa {
namespace {

using namespace talpa::testing;

/// The golden model `name`, with what llama.cpp cannot express left out.
ModelFiles exportable(const std::string& name) {
  ModelFiles files = open_model(golden_model(name));
  files.config.attention.clip_qkv = 0;
  return files;
}

double relative_error(const std::vector<float>& wanted, const std::vector<float>& got) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(static_cast<double>(wanted[i]) - got[i], 2);
    norm += std::pow(static_cast<double>(wanted[i]), 2);
  }
  return std::sqrt(error / norm);
}

class SaveGguf : public ::testing::TestWithParam<const char*> {};

TEST_P(SaveGguf, ReadsBackTheSameModel) {
  const ModelFiles files = exportable(GetParam());
  const Scratch scratch;
  save_gguf(scratch / "m.gguf", files.config, weights_of(files), {.dtype = DType::kF32});
  const ModelFiles copy = open_model(scratch / "m.gguf");
  DecoderConfig wanted = files.config;
  wanted.moe.balance_loss = MoeConfig{}.balance_loss;
  if (wanted.has_moe()) wanted.ffn_dim = 0;
  EXPECT_EQ(config_to_json(copy.config), config_to_json(wanted));
  for (const auto& [name, weight] : files.weights)
    EXPECT_EQ(floats(copy.at(name)), floats(weight)) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, SaveGguf,
                         ::testing::Values("llama", "llama_tied", "mixtral", "qwen2_moe",
                                           "qwen3_moe_sparse", "olmoe"),
                         [](const auto& info) { return std::string(info.param); });

/// Bound of the relative error of the widest tensors.
struct TypeCase {
  DType dtype;
  double bound;
};

class SaveGgufTypes : public ::testing::TestWithParam<TypeCase> {};

TEST_P(SaveGgufTypes, MatricesTakeTheTypeAndNormsAndRoutersF32) {
  const ModelFiles files = exportable("mixtral");
  const Scratch scratch;
  save_gguf(scratch / "m.gguf", files.config, weights_of(files), {.dtype = GetParam().dtype});
  const ModelFiles copy = open_model(scratch / "m.gguf");
  EXPECT_EQ(copy.at("layers.0.attn_norm").dtype(), DType::kF32);
  EXPECT_EQ(copy.at("layers.0.moe.router").dtype(), DType::kF32);
  EXPECT_EQ(copy.at("layers.0.moe.gate").dtype(), GetParam().dtype);
  // Rows of 24 are no whole blocks of 32.
  const bool blocks = is_quantised(GetParam().dtype);
  EXPECT_EQ(copy.at("layers.0.moe.down").dtype(), blocks ? DType::kF16 : GetParam().dtype);
  for (const auto& [name, weight] : files.weights)
    EXPECT_LE(relative_error(floats(weight), floats(copy.at(name))), GetParam().bound) << name;
}

INSTANTIATE_TEST_SUITE_P(Types, SaveGgufTypes,
                         ::testing::Values(TypeCase{DType::kBF16, 0}, TypeCase{DType::kF16, 1e-3},
                                           TypeCase{DType::kQ8_0, 0.008},
                                           TypeCase{DType::kQ4_0, 0.12},
                                           TypeCase{DType::kQ4_1, 0.12},
                                           TypeCase{DType::kQ3_0, 0.2},
                                           TypeCase{DType::kQ2_0, 0.4}),
                         [](const auto& info) { return std::string(name_of(info.param.dtype)); });

TEST(SaveGgufErrors, RefusesWhatLlamaCppCannotRun) {
  const Scratch scratch;
  const WeightProvider none = [](const WeightSpec&, float*) {};
  const auto save = [&](const DecoderConfig& config) { save_gguf(scratch / "m", config, none); };
  EXPECT_TALPA_ERROR(save(config_of(Family::kQwen3Moe)), kUnsupported, "layer 0 is dense");
  EXPECT_TALPA_ERROR(save(config_of(Family::kOlmoe)), kUnsupported, "heads of width 48 / 4");
  DecoderConfig config = config_of(Family::kQwen2Moe);
  config.moe.normalize_top_k = true;
  EXPECT_TALPA_ERROR(save(config), kUnsupported, "cannot express moe.normalize_top_k = true");
  EXPECT_FALSE(std::filesystem::exists(scratch / "m"));
}

TEST(SaveGgufTokenizer, GoesIntoTheFile) {
  const Scratch scratch;
  write_text(scratch / "tokenizer.json", R"({
    "added_tokens": [{"id": 0, "content": "<|end|>", "special": true}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
    "model": {"type": "BPE", "vocab": {"a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]}})");
  const ModelFiles files = exportable("llama");
  save_gguf(scratch / "m.gguf", files.config, weights_of(files),
            {.tokenizer_from = scratch.path()});
  const auto gguf = GgufFile::open(scratch / "m.gguf");
  EXPECT_EQ(gguf->metadata_as<std::string>("tokenizer.ggml.pre"), "smollm");
  const auto tokens = gguf->metadata_as<std::vector<std::string>>("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 128U);
  EXPECT_EQ(tokens[3], "ab");
  EXPECT_EQ(tokens[127], "[PAD127]");
  EXPECT_EQ(gguf->metadata_as<std::vector<std::string>>("tokenizer.ggml.merges"),
            std::vector<std::string>{"a b"});
  const auto types = gguf->metadata_as<std::vector<int>>("tokenizer.ggml.token_type");
  EXPECT_EQ((std::vector<int>{types[0], types[1], types[127]}), (std::vector<int>{3, 1, 5}));
}

TEST(SaveGgufTokenizer, OfAnotherKindIsRefused) {
  const Scratch scratch;
  const ModelFiles files = exportable("llama");
  const auto save = [&](const char* text) {
    write_text(scratch / "tokenizer.json", text);
    save_gguf(scratch / "m.gguf", files.config, weights_of(files),
              {.tokenizer_from = scratch / "tokenizer.json"});
  };
  EXPECT_TALPA_ERROR(save(R"({"model": {"type": "WordPiece"}})"), kUnsupported, "byte-level BPE");
  EXPECT_TALPA_ERROR(save(R"({"model": {"type": "BPE", "vocab": {"a": 500}, "merges": []}})"),
                     kFormat, "id 500 of token a");
  EXPECT_TALPA_ERROR(save(R"({"pre_tokenizer": {"type": "Whitespace"},
                              "model": {"type": "BPE", "vocab": {}, "merges": []}})"),
                     kUnsupported, "no name for this pre-tokenizer");
  EXPECT_TALPA_ERROR(save("[]"), kFormat, "tokenizer.json");
}

}  // namespace
}  // namespace talpa
