#include "talpa/model/families/family.h"

namespace talpa {
namespace {

void read_hf(const HfReader& reader, DecoderConfig& config) {
  read_hf_experts(reader, config);
  config.moe.hidden_dim = reader.integer("moe_intermediate_size");
  config.moe.normalize_top_k = reader.boolean("norm_topk_prob", false);
  config.attention.qk_norm = QkNorm::kPerHead;
}

void write_hf(const DecoderConfig& config, Json& json) {
  write_hf_experts(config, "moe_intermediate_size", json);
  json["norm_topk_prob"] = config.moe.normalize_top_k;
  json["mlp_only_layers"] = config.moe.dense_layers;
  json["decoder_sparse_step"] = 1;
  json["attention_bias"] = false;
  json["use_sliding_window"] = false;
  json["sliding_window"] = nullptr;
}

void read_gguf(DecoderConfig& config) {
  config.moe.normalize_top_k = true;
  config.attention.qk_norm = QkNorm::kPerHead;
}

}  // namespace

const FamilyAdapter kQwen3MoeAdapter = {
    .family = Family::kQwen3Moe,
    .model_type = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    .defaults = {.num_kv_heads = 4, .max_positions = 32768},
    .experts = {},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = "qwen3moe",
    .gguf_pairs_rotary_rows = false,
    .read_gguf = read_gguf,
};

}  // namespace talpa
