#include <gmock/gmock.h>

#include "model/checkpoint.h"
#include "model/configs.h"

namespace talpa {
namespace {

using namespace talpa::testing;

class HfConfigTest : public ::testing::TestWithParam<Family> {};

TEST_P(HfConfigTest, ReadsBackWhatItWrites) {
  const DecoderConfig config = config_of(GetParam());
  const DecoderConfig read = from_hf_config(to_hf_config(config, DType::kBF16), "config.json");
  EXPECT_EQ(config_to_json(read), config_to_json(config));
}

INSTANTIATE_TEST_SUITE_P(Families, HfConfigTest, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) { return enum_name(info.param); });

/// A change to a config.json and what it leads to.
struct Change {
  const char* name;
  const char* golden;
  const char* patch;  ///< RFC 7386
};

struct AcceptedChange : Change {
  const char* assignment;  ///< what it sets in the description
};

class HfAccepted : public ::testing::TestWithParam<AcceptedChange> {};

TEST_P(HfAccepted, SetsTheDescription) {
  Json json = read_json(golden_model(GetParam().golden) / "config.json");
  json.merge_patch(Json::parse(GetParam().patch));
  const Json read = config_to_json(from_hf_config(json, "config.json"));
  Json wanted = read;
  apply_setting(wanted, GetParam().assignment);
  EXPECT_EQ(read, wanted);
}

const AcceptedChange kAccepted[] = {
    {{"old_theta", "llama", R"({"rope_parameters": null, "rope_theta": 2e5})"},
     "attention.rope_theta=2e5"},
    {{"default_theta", "mixtral", R"({"rope_parameters": null})"}, "attention.rope_theta=1e6"},
    {{"default_scaling", "llama", R"({"rope_scaling": {"type": "default"}})"},
     "attention.rope_theta=10000.0"},
    {{"head_dim", "llama", R"({"head_dim": null})"}, "attention.head_dim=8"},
    {{"kv_heads_null", "olmoe", R"({"num_key_value_heads": null})"}, "attention.num_kv_heads=4"},
    {{"eos_list", "llama", R"({"eos_token_id": [5, 6]})"}, "eos_tokens=[5, 6]"},
    {{"eos_null", "llama", R"({"eos_token_id": null})"}, "eos_tokens=[]"},
    {{"sparse_step", "qwen3_moe", R"({"mlp_only_layers": null, "decoder_sparse_step": 2})"},
     "moe.dense_layers=[0]"},
    {{"old_expert_key", "qwen3_moe", R"({"num_local_experts": null, "num_experts": 8})"},
     "moe.num_experts=8"},
    {{"norm_topk", "olmoe", R"({"norm_topk_prob": true})"}, "moe.normalize_top_k=true"},
    {{"no_bias", "qwen2_moe", R"({"qkv_bias": false})"}, "attention.qkv_bias=false"},
    {{"wide_window", "mixtral", R"({"sliding_window": 4096})"}, "max_positions=256"},
    {{"unused_window", "qwen3_moe", R"({"sliding_window": 8})"}, "max_positions=256"},
    {{"architectures_only", "llama", R"({"model_type": null})"}, "family=\"llama\""},
};
INSTANTIATE_TEST_SUITE_P(Changes, HfAccepted, ::testing::ValuesIn(kAccepted),
                         [](const auto& info) { return std::string(info.param.name); });

struct RefusedChange : Change {
  ErrorCode code;
  const char* message;
};

class HfRefused : public ::testing::TestWithParam<RefusedChange> {};

TEST_P(HfRefused, NamesTheKey) {
  Json json = read_json(golden_model(GetParam().golden) / "config.json");
  json.merge_patch(Json::parse(GetParam().patch));
  try {
    from_hf_config(json, "here/config.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam().message));
    EXPECT_THAT(error.what(), ::testing::StartsWith("here/config.json: "));
  }
}

constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
constexpr ErrorCode kFormat = ErrorCode::kFormat;
const RefusedChange kRefused[] = {
    {{"llama3_rope", "llama", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})"},
     kUnsupported,
     "rope_scaling.rope_type = \"llama3\""},
    {{"yarn", "qwen3_moe", R"({"rope_parameters": {"rope_type": "yarn"}})"},
     kUnsupported,
     "rope_parameters.rope_type = \"yarn\""},
    {{"window", "mixtral", R"({"sliding_window": 64})"}, kUnsupported, "sliding_window = 64"},
    {{"used_window", "qwen3_moe", R"({"sliding_window": 8, "use_sliding_window": true})"},
     kUnsupported,
     "sliding_window = 8"},
    {{"layer_types", "qwen2_moe", R"({"layer_types": ["sliding_attention"]})"},
     kUnsupported,
     "layer_types"},
    {{"activation", "llama", R"({"hidden_act": "gelu"})"}, kUnsupported, "hidden_act = \"gelu\""},
    {{"attention_bias", "llama", R"({"attention_bias": true})"}, kUnsupported, "attention_bias"},
    {{"mlp_bias", "llama", R"({"mlp_bias": true})"}, kUnsupported, "mlp_bias = true"},
    {{"quantised", "llama", R"({"quantization_config": {"bits": 4}})"},
     kUnsupported,
     "quantization_config"},
    {{"unknown", "llama", R"({"model_type": "mamba"})"},
     kUnsupported,
     "known: llama, mixtral, qwen2_moe, qwen3_moe, olmoe, talpa"},
    {{"no_type", "llama", R"({"model_type": null, "architectures": null})"},
     kFormat,
     "neither model_type nor architectures"},
    {{"missing", "llama", R"({"hidden_size": null})"}, kFormat, "key hidden_size is missing"},
    {{"type", "llama", R"({"hidden_size": "32"})"},
     kFormat,
     "hidden_size: expected an integer, got \"32\""},
    {{"huge", "llama", R"({"num_hidden_layers": 18446744073709551615})"},
     kFormat,
     "num_hidden_layers: expected an integer below 2^31"},
    {{"many_layers", "qwen3_moe", R"({"num_hidden_layers": 2147483647})"},
     kFormat,
     "num_layers = 2147483647 is outside"},
    {{"negative", "llama", R"({"vocab_size": -5})"}, kFormat, "vocab_size = -5"},
    {{"zero_heads", "llama", R"({"num_attention_heads": 0, "head_dim": null})"},
     kFormat,
     "num_attention_heads = 0"},
    {{"top_k", "mixtral", R"({"num_experts_per_tok": 9})"},
     kFormat,
     "moe.top_k = 9 exceeds moe.num_experts = 8"},
    {{"two_counts", "qwen3_moe", R"({"num_experts": 4})"}, kFormat, "contradicts"},
    {{"step", "qwen3_moe", R"({"decoder_sparse_step": 0})"}, kFormat, "decoder_sparse_step"},
    {{"rope_list", "llama", R"({"rope_parameters": [1]})"}, kFormat, "rope_parameters"},
    {{"layer_types_text", "qwen2_moe", R"({"layer_types": "full"})"}, kUnsupported, "layer_types"},
};
INSTANTIATE_TEST_SUITE_P(Changes, HfRefused, ::testing::ValuesIn(kRefused),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ToHfConfig, RefusesWhatTheFamilyCannotSay) {
  DecoderConfig config = config_of(Family::kLlama);
  config.attention.qkv_bias = true;
  EXPECT_TALPA_ERROR(to_hf_config(config, DType::kF32), kUnsupported,
                     "a llama config.json cannot express attention.qkv_bias = true");
  config = config_of(Family::kTalpa);
  config.family = Family::kQwen3Moe;
  config.attention.qk_norm = QkNorm::kPerHead;
  EXPECT_TALPA_ERROR(to_hf_config(config, DType::kF32), kUnsupported, "moe.latent.");
  config = config_of(Family::kMixtral);
  config.moe.normalize_top_k = false;
  EXPECT_TALPA_ERROR(to_hf_config(config, DType::kF32), kUnsupported, "moe.normalize_top_k");
}

TEST(TalpaConfig, DescriptionIsCheckedLikeAnyOther) {
  Json json = to_hf_config(config_of(Family::kTalpa), DType::kF32);
  EXPECT_EQ(json.at("moe_latent_size"), 16);
  DecoderConfig apart = config_of(Family::kTalpa);
  apart.moe.latent.factor_down = true;
  apart.moe.latent.down_latent_dim = 8;
  EXPECT_FALSE(to_hf_config(apart, DType::kF32).contains("moe_latent_size"));
  json["talpa"]["moe"]["top_k"] = 99;
  EXPECT_TALPA_ERROR(from_hf_config(json, "c"), kFormat, "c: talpa.moe.top_k = 99 exceeds");
  json["talpa"] = 3;
  EXPECT_TALPA_ERROR(from_hf_config(json, "c"), kFormat, "c: talpa: expected a table, got 3");
  json.erase("talpa");
  EXPECT_TALPA_ERROR(from_hf_config(json, "c"), kFormat, "key talpa");
}

}  // namespace
}  // namespace talpa
