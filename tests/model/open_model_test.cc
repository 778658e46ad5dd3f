#include <gmock/gmock.h>

#include <algorithm>

#include "model/checkpoint.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

using namespace talpa::testing;

std::vector<Stored>::iterator stored(std::vector<Stored>& tensors, const std::string& name) {
  return std::find_if(tensors.begin(), tensors.end(),
                      [&](const Stored& tensor) { return tensor.name == name; });
}

class OpenModel : public ::testing::TestWithParam<std::string> {};

TEST_P(OpenModel, EveryTensorHasItsShapeAndEveryStoredByteIsUsed) {
  const ModelFiles files = open_model(golden_model(GetParam()));
  const auto specs = weight_specs(files.config);
  ASSERT_EQ(files.weights.size(), specs.size());
  std::uint64_t bytes = 0;
  for (const WeightSpec& spec : specs) {
    EXPECT_EQ(files.at(spec.name).shape, spec.shape) << spec.name;
    bytes += files.at(spec.name).bytes();
  }
  EXPECT_EQ(bytes, files.store->total_bytes());
}

TEST_P(OpenModel, SavedAndOpenedAgainIsTheSame) {
  const ModelFiles files = open_model(golden_model(GetParam()));
  const Scratch scratch;
  save_hf_directory(scratch / "copy", files.config, weights_of(files));
  const ModelFiles copy = open_model(scratch / "copy");
  EXPECT_EQ(config_to_json(copy.config), config_to_json(files.config));
  for (const auto& [name, weight] : files.weights)
    EXPECT_EQ(floats(copy.at(name)), floats(weight)) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, OpenModel, ::testing::ValuesIn(golden_cases()),
                         [](const auto& info) { return info.param; });

class OpenGguf : public ::testing::TestWithParam<const char*> {};

TEST_P(OpenGguf, EqualsTheHuggingFaceDirectory) {
  const ModelFiles hf = open_model(golden_model(GetParam()));
  const ModelFiles gguf = open_model(golden_model(GetParam()) / "model.gguf");
  EXPECT_EQ(gguf.format, "gguf");
  EXPECT_EQ(gguf.config.family, hf.config.family);
  EXPECT_EQ(gguf.config.attention.head_dim, hf.config.attention.head_dim);
  EXPECT_EQ(gguf.config.eos_tokens, hf.config.eos_tokens);
  ASSERT_EQ(gguf.weights.size(), hf.weights.size());
  for (const auto& [name, weight] : hf.weights) {
    EXPECT_EQ(gguf.at(name).shape, weight.shape) << name;
    EXPECT_EQ(floats(gguf.at(name)), floats(weight)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, OpenGguf, ::testing::Values("llama", "mixtral", "qwen2_moe"),
                         [](const auto& info) { return std::string(info.param); });

/// The experts of layer 1 of `tensors` as transformers fuses them in memory.
void fuse_experts(Json& config, std::vector<Stored>& tensors) {
  const int experts = config.at("num_experts_per_tok") == 3 ? 8 : 0;
  const std::string prefix = "model.layers.1.mlp.experts.";
  Stored gate_up{prefix + "gate_up_proj", DType::kBF16, {experts, 32, 32}, {}};
  Stored down{prefix + "down_proj", DType::kBF16, {experts, 32, 16}, {}};
  for (int e = 0; e < experts; ++e)
    for (const char* matrix : {"gate", "up", "down"}) {
      const auto it = stored(tensors, fmt::format("{}{}.{}_proj.weight", prefix, e, matrix));
      auto& bytes = (std::string(matrix) == "down" ? down : gate_up).bytes;
      bytes.insert(bytes.end(), it->bytes.begin(), it->bytes.end());
      tensors.erase(it);
    }
  tensors.push_back(gate_up);
  tensors.push_back(down);
}

TEST(OpenModelForms, FusedExpertsEqualSeparateOnes) {
  const Scratch scratch;
  write_edited("qwen3_moe_sparse", scratch / "fused", fuse_experts);
  const ModelFiles fused = open_model(scratch / "fused");
  const ModelFiles separate = open_model(golden_model("qwen3_moe_sparse"));
  for (const auto& [name, weight] : separate.weights)
    EXPECT_EQ(floats(fused.at(name)), floats(weight)) << name;
}

TEST(OpenModelForms, RotaryTablesAndATiedHeadAreIgnored) {
  const Scratch scratch;
  write_edited("llama_tied", scratch / "m", [](Json&, std::vector<Stored>& tensors) {
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq",
                       DType::kF32,
                       {8},
                       std::vector<std::byte>(32)});
    Stored head = *stored(tensors, "model.embed_tokens.weight");
    head.name = "lm_head.weight";
    tensors.push_back(head);
  });
  EXPECT_EQ(open_model(scratch / "m").weights.count("head"), 0U);
}

struct BrokenCheckpoint {
  const char* name;
  ErrorCode code;
  const char* message;
  void (*edit)(Json&, std::vector<Stored>&);
};

class OpenBroken : public ::testing::TestWithParam<BrokenCheckpoint> {};

TEST_P(OpenBroken, SaysWhat) {
  const Scratch scratch;
  write_edited("qwen3_moe", scratch / "m", GetParam().edit);
  try {
    open_model(scratch / "m");
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam().message));
  }
}

const BrokenCheckpoint kBroken[] = {
    {"missing", ErrorCode::kFormat, "1 tensor is missing: model.norm.weight",
     [](Json&, std::vector<Stored>& t) { t.erase(stored(t, "model.norm.weight")); }},
    {"many_missing", ErrorCode::kFormat,
     "11 tensors are missing: model.layers.2.input_layernorm.weight",
     [](Json& config, std::vector<Stored>&) {
       config["num_hidden_layers"] = 3;
       config["mlp_only_layers"] = {0, 2};
     }},
    {"left_over", ErrorCode::kFormat, "1 tensor has no place in the model: model.extra",
     [](Json&, std::vector<Stored>& t) {
       t.push_back({"model.extra", DType::kF32, {1}, std::vector<std::byte>(4)});
     }},
    {"shape", ErrorCode::kFormat, "tensor model.norm.weight: expected shape [32], got [16]",
     [](Json&, std::vector<Stored>& t) {
       *stored(t, "model.norm.weight") = {
           "model.norm.weight", DType::kBF16, {16}, std::vector<std::byte>(32)};
     }},
    {"integers", ErrorCode::kUnsupported, "model.norm.weight: weights of type i32",
     [](Json&, std::vector<Stored>& t) {
       *stored(t, "model.norm.weight") = {
           "model.norm.weight", DType::kI32, {32}, std::vector<std::byte>(128)};
     }},
    {"mixed_types", ErrorCode::kUnsupported, "expected type bf16 like the rest of its stack",
     [](Json&, std::vector<Stored>& t) {
       const std::string name = "model.layers.1.mlp.experts.3.up_proj.weight";
       *stored(t, name) = {name, DType::kF32, {16, 32}, std::vector<std::byte>(16 * 32 * 4)};
     }},
    {"architecture", ErrorCode::kUnsupported, "architecture gpt2, Qwen3MoeForCausalLM is not known",
     [](Json& config, std::vector<Stored>&) { config["model_type"] = "gpt2"; }},
};
INSTANTIATE_TEST_SUITE_P(Checkpoints, OpenBroken, ::testing::ValuesIn(kBroken),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(OpenModelErrors, NamesWhatThePathIs) {
  const Scratch scratch;
  write_text(scratch / "notes.txt", "nothing");
  EXPECT_TALPA_ERROR(open_model(scratch / "none"), kNotFound, "does not exist");
  EXPECT_TALPA_ERROR(open_model(scratch.path()), kNotFound, "config.json");
  EXPECT_TALPA_ERROR(open_model(scratch / "notes.txt"), kFormat, "neither a Hugging Face");
  EXPECT_TALPA_ERROR(open_model(golden_model("llama") / "config.json"), kFormat,
                     "name its directory");
}

}  // namespace
}  // namespace talpa
