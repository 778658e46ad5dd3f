#include "talpa/model/families/family.h"

namespace talpa {
namespace {

void read_hf(const HfReader& reader, DecoderConfig& config) {
  read_hf_experts(reader, config);
  config.moe.hidden_dim = config.ffn_dim;
  config.ffn_dim = 0;
  config.moe.normalize_top_k = reader.boolean("norm_topk_prob", false);
  config.attention.qk_norm = QkNorm::kFullWidth;
  config.attention.clip_qkv = reader.number("clip_qkv", 0);
}

void write_hf(const DecoderConfig& config, Json& json) {
  write_hf_experts(config, "intermediate_size", json);
  const double clip = config.attention.clip_qkv;
  json["norm_topk_prob"] = config.moe.normalize_top_k;
  json["clip_qkv"] = clip > 0 ? Json(clip) : Json();
  json["attention_bias"] = false;
}

void read_gguf(DecoderConfig& config) {
  config.moe.normalize_top_k = false;
  config.attention.qk_norm = QkNorm::kFullWidth;
}

}  // namespace

const FamilyAdapter kOlmoeAdapter = {
    .family = Family::kOlmoe,
    .model_type = "olmoe",
    .architecture = "OlmoeForCausalLM",
    .defaults = {.norm_eps = 1e-5, .max_positions = 4096},
    .experts = {},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = "olmoe",
    .gguf_pairs_rotary_rows = false,
    .read_gguf = read_gguf,
};

}  // namespace talpa
