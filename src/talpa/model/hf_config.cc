#include <algorithm>
#include <array>
#include <string_view>

#include "talpa/base/log.h"
#include "talpa/model/families/family.h"
#include "talpa/model/lost_setting.h"

namespace talpa {
namespace {

/// Keys that are read somewhere, or that change nothing in a forward pass.
constexpr std::array kKnownKeys = {"_name_or_path",
                                   "architectures",
                                   "attention_bias",
                                   "attention_dropout",
                                   "auto_map",
                                   "bos_token_id",
                                   "clip_qkv",
                                   "decoder_sparse_step",
                                   "dtype",
                                   "eos_token_id",
                                   "head_dim",
                                   "hidden_act",
                                   "hidden_size",
                                   "id2label",
                                   "initializer_range",
                                   "intermediate_size",
                                   "is_llama_config",
                                   "label2id",
                                   "layer_types",
                                   "max_position_embeddings",
                                   "max_window_layers",
                                   "mlp_bias",
                                   "mlp_only_layers",
                                   "model_type",
                                   "moe_intermediate_size",
                                   "moe_latent_size",
                                   "norm_topk_prob",
                                   "num_attention_heads",
                                   "num_experts",
                                   "num_experts_per_tok",
                                   "num_hidden_layers",
                                   "num_key_value_heads",
                                   "num_local_experts",
                                   "output_router_logits",
                                   "pad_token_id",
                                   "pretraining_tp",
                                   "qkv_bias",
                                   "rms_norm_eps",
                                   "rope_interleaved",
                                   "rope_parameters",
                                   "rope_scaling",
                                   "rope_theta",
                                   "router_aux_loss_coef",
                                   "router_jitter_noise",
                                   "router_z_loss_coef",
                                   "shared_expert_intermediate_size",
                                   "sliding_window",
                                   "talpa",
                                   "tie_word_embeddings",
                                   "torch_dtype",
                                   "transformers.js_config",
                                   "transformers_version",
                                   "use_cache",
                                   "use_sliding_window",
                                   "vocab_size",
                                   "partial_rotary_factor",
                                   "quantization_config",
                                   "final_logit_softcapping",
                                   "attn_logit_softcapping",
                                   "logits_scaling",
                                   "logit_scale",
                                   "embedding_multiplier",
                                   "residual_multiplier",
                                   "attention_multiplier",
                                   "routed_scaling_factor"};

/// A key that would change the arithmetic unless it is absent or has the neutral value.
struct NeutralKey {
  const char* key;
  Json neutral;
  const char* why;
};

const std::vector<NeutralKey>& neutral_keys() {
  static const std::vector<NeutralKey> keys = {
      {"attention_bias", false, "a bias on the attention output is not supported"},
      {"mlp_bias", false, "biases in feed-forward layers are not supported"},
      {"rope_interleaved", false, "interleaved rotary pairs are not supported"},
      {"partial_rotary_factor", 1.0, "partial rotary embedding is not supported"},
      {"quantization_config", nullptr, "quantised checkpoints are not supported; use GGUF"},
      {"final_logit_softcapping", nullptr, "soft-capping is not supported"},
      {"attn_logit_softcapping", nullptr, "soft-capping is not supported"},
      {"logits_scaling", 1.0, "scaled logits are not supported"},
      {"logit_scale", 1.0, "scaled logits are not supported"},
      {"embedding_multiplier", 1.0, "scaled embeddings are not supported"},
      {"residual_multiplier", 1.0, "scaled residuals are not supported"},
      {"attention_multiplier", nullptr, "scaled attention is not supported"},
      {"routed_scaling_factor", 1.0, "scaled experts are not supported"},
  };
  return keys;
}

void check_options(const HfReader& reader, const HfDefaults& defaults, int max_positions) {
  for (const NeutralKey& neutral : neutral_keys())
    if (reader.has(neutral.key) && reader.json().at(neutral.key) != neutral.neutral)
      reader.refuse(neutral.key, reader.json().at(neutral.key), neutral.why);
  const std::string activation = reader.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    reader.refuse("hidden_act", activation, "only silu is supported");
  if (reader.has("layer_types"))
    for (const Json& type : reader.json().at("layer_types"))
      if (type != "full_attention")
        reader.refuse("layer_types", type, "only full_attention is supported");
  if (reader.has("sliding_window") &&
      reader.boolean("use_sliding_window", defaults.sliding_window)) {
    const int window = reader.integer("sliding_window");
    if (window < max_positions)
      reader.refuse("sliding_window", window,
                    "a window below max_position_embeddings is not supported");
  }
}

double read_rope_theta(const HfReader& reader, double fallback) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!reader.has(key)) continue;
    const Json& json = reader.json().at(key);
    const std::string where = reader.source() + ": " + key;
    const HfReader rope(json, where);
    if (!json.is_object()) fail(ErrorCode::kFormat, "{}: expected an object", where);
    const std::string type = rope.text("rope_type", rope.text("type", "default"));
    if (type != "default")
      reader.refuse(std::string(key) + ".rope_type", type,
                    "scaled rotary embedding is not supported");
    if (rope.number("partial_rotary_factor", 1) != 1)
      reader.refuse(key, json, "partial rotary embedding is not supported");
    for (const auto& [name, value] : json.items())
      if (value.is_object()) reader.refuse(key, json, "rotary settings by layer are not supported");
    fallback = rope.number("rope_theta", fallback);
  }
  return reader.number("rope_theta", fallback);
}

void read_common(const HfReader& reader, const HfDefaults& defaults, DecoderConfig& config) {
  config.vocab_size = reader.integer("vocab_size");
  config.dim = reader.integer("hidden_size");
  config.num_layers = reader.integer("num_hidden_layers");
  config.ffn_dim = reader.integer("intermediate_size", 0);
  config.norm_eps = reader.number("rms_norm_eps", defaults.norm_eps);
  config.tie_embeddings = reader.boolean("tie_word_embeddings", defaults.tie_embeddings);
  config.max_positions = reader.integer("max_position_embeddings", defaults.max_positions);
  config.bos_token = reader.integer("bos_token_id", -1);
  config.eos_tokens = reader.integers("eos_token_id");
  AttentionConfig& attention = config.attention;
  attention.num_heads = reader.integer("num_attention_heads");
  const bool named = reader.json().contains("num_key_value_heads");
  const int kv_fallback =
      named || defaults.num_kv_heads == 0 ? attention.num_heads : defaults.num_kv_heads;
  attention.num_kv_heads = reader.integer("num_key_value_heads", kv_fallback);
  if (!reader.has("head_dim") && (attention.num_heads < 1 || config.dim % attention.num_heads))
    fail(ErrorCode::kFormat, "{}: hidden_size = {} is no multiple of num_attention_heads = {}",
         reader.source(), config.dim, attention.num_heads);
  attention.head_dim =
      reader.has("head_dim") ? reader.integer("head_dim") : config.dim / attention.num_heads;
  attention.rope_theta = read_rope_theta(reader, defaults.rope_theta);
}

const FamilyAdapter& find_adapter(const HfReader& reader) {
  std::string name = reader.text("model_type", "");
  for (const FamilyAdapter* adapter : family_adapters())
    if (name == adapter->model_type) return *adapter;
  const Json none;
  const Json& list = reader.has("architectures") ? reader.json().at("architectures") : none;
  if (list.is_array() && !list.empty() && list[0].is_string()) {
    const auto architecture = list[0].get<std::string>();
    for (const FamilyAdapter* adapter : family_adapters())
      if (name.empty() && architecture == adapter->architecture) return *adapter;
    name += (name.empty() ? "" : ", ") + architecture;
  }
  if (name.empty())
    fail(ErrorCode::kFormat, "{}: neither model_type nor architectures is there", reader.source());
  fail(ErrorCode::kUnsupported, "{}: architecture {} is not known; known: {}", reader.source(),
       name, known_families());
}

void warn_unknown_keys(const HfReader& reader) {
  for (const auto& [key, value] : reader.json().items())
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), std::string_view(key)) == kKnownKeys.end())
      log::warn("{}: key {} is not known and is ignored", reader.source(), key);
}

void write_common(const DecoderConfig& config, DType dtype, Json& json) {
  const AttentionConfig& attention = config.attention;
  const char* type = dtype == DType::kF32   ? "float32"
                     : dtype == DType::kF16 ? "float16"
                                            : "bfloat16";
  json["dtype"] = type;
  json["torch_dtype"] = type;
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.dim;
  json["hidden_act"] = "silu";
  json["intermediate_size"] = config.ffn_dim > 0 ? config.ffn_dim : config.moe.hidden_dim;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = attention.num_heads;
  json["num_key_value_heads"] = attention.num_kv_heads;
  json["head_dim"] = attention.head_dim;
  json["attention_dropout"] = 0.0;
  json["rope_theta"] = attention.rope_theta;
  json["rope_parameters"] = {{"rope_theta", attention.rope_theta}, {"rope_type", "default"}};
  json["rms_norm_eps"] = config.norm_eps;
  json["max_position_embeddings"] = config.max_positions;
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["initializer_range"] = 0.02;
  json["use_cache"] = true;
  json["pad_token_id"] = nullptr;
  json["bos_token_id"] = config.bos_token >= 0 ? Json(config.bos_token) : Json();
  json["eos_token_id"] = config.eos_tokens.empty()       ? Json()
                         : config.eos_tokens.size() == 1 ? Json(config.eos_tokens.front())
                                                         : Json(config.eos_tokens);
}

}  // namespace

DecoderConfig from_hf_config(const Json& json, const std::string& source) {
  if (!json.is_object())
    fail(ErrorCode::kFormat, "{}: expected an object, got {}", source, json.type_name());
  const HfReader reader(json, source);
  const FamilyAdapter& adapter = find_adapter(reader);
  DecoderConfig config;
  config.family = adapter.family;
  try {
    read_common(reader, adapter.defaults, config);
    check_options(reader, adapter.defaults, config.max_positions);
    adapter.read_hf(reader, config);
    config.validate({});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kConfig) throw;
    fail(ErrorCode::kFormat, "{}: {}", source, error.what());
  }
  warn_unknown_keys(reader);
  return config;
}

Json to_hf_config(const DecoderConfig& config, DType dtype) {
  config.validate({});
  const FamilyAdapter& adapter = adapter_of(config.family);
  Json json = {{"model_type", adapter.model_type}, {"architectures", {adapter.architecture}}};
  write_common(config, dtype, json);
  adapter.write_hf(config, json);
  const std::string lost = lost_setting(config, from_hf_config(json, "config.json"));
  if (!lost.empty())
    fail(ErrorCode::kUnsupported,
         "a {} config.json cannot express {}; save the model as family = talpa instead",
         adapter.model_type, lost);
  return json;
}

}  // namespace talpa
