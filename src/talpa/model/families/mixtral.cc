#include "talpa/model/families/family.h"

namespace talpa {
namespace {

void read_hf(const HfReader& reader, DecoderConfig& config) {
  read_hf_experts(reader, config);
  config.moe.hidden_dim = config.ffn_dim;
  config.ffn_dim = 0;
  config.moe.normalize_top_k = true;
}

void write_hf(const DecoderConfig& config, Json& json) {
  write_hf_experts(config, "intermediate_size", json);
  json["sliding_window"] = nullptr;
}

void read_gguf(DecoderConfig& config) { config.moe.normalize_top_k = true; }

}  // namespace

const FamilyAdapter kMixtralAdapter = {
    .family = Family::kMixtral,
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .defaults = {.rope_theta = 1e6,
                 .norm_eps = 1e-5,
                 .num_kv_heads = 8,
                 .max_positions = 4096 * 32,
                 .sliding_window = true},
    .experts = {.router = "block_sparse_moe.gate.weight",
                .gate = "block_sparse_moe.experts.{}.w1.weight",
                .up = "block_sparse_moe.experts.{}.w3.weight",
                .down = "block_sparse_moe.experts.{}.w2.weight"},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = "llama",
    .gguf_pairs_rotary_rows = true,
    .read_gguf = read_gguf,
};

}  // namespace talpa
