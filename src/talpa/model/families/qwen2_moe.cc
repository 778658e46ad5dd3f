#include "talpa/model/families/family.h"

namespace talpa {
namespace {

void read_hf(const HfReader& reader, DecoderConfig& config) {
  read_hf_experts(reader, config);
  MoeConfig& moe = config.moe;
  moe.hidden_dim = reader.integer("moe_intermediate_size");
  moe.normalize_top_k = reader.boolean("norm_topk_prob", false);
  moe.shared_hidden_dim = reader.integer("shared_expert_intermediate_size");
  moe.shared_gate = true;
  config.attention.qkv_bias = reader.boolean("qkv_bias", true);
}

void write_hf(const DecoderConfig& config, Json& json) {
  write_hf_experts(config, "moe_intermediate_size", json);
  json["norm_topk_prob"] = config.moe.normalize_top_k;
  json["shared_expert_intermediate_size"] = config.moe.shared_hidden_dim;
  json["mlp_only_layers"] = config.moe.dense_layers;
  json["decoder_sparse_step"] = 1;
  json["qkv_bias"] = config.attention.qkv_bias;
  json["use_sliding_window"] = false;
  json["sliding_window"] = nullptr;
}

void read_gguf(DecoderConfig& config) {
  config.moe.normalize_top_k = false;
  config.moe.shared_gate = true;
}

}  // namespace

const FamilyAdapter kQwen2MoeAdapter = {
    .family = Family::kQwen2Moe,
    .model_type = "qwen2_moe",
    .architecture = "Qwen2MoeForCausalLM",
    .defaults = {.num_kv_heads = 16, .max_positions = 32768},
    .experts = {},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = "qwen2moe",
    .gguf_pairs_rotary_rows = false,
    .read_gguf = read_gguf,
};

}  // namespace talpa
