#include "talpa/model/accounting.h"

namespace talpa {
namespace {

DecoderConfig base(Family family, int vocab_size, int dim, int num_layers) {
  DecoderConfig config;
  config.family = family;
  config.vocab_size = vocab_size;
  config.dim = dim;
  config.num_layers = num_layers;
  config.max_positions = 32768;
  return config;
}

struct Experts {
  int num_experts;
  int top_k;
  int hidden_dim;
  int shared_hidden_dim = 0;
  bool normalize_top_k = true;
};

void set_experts(DecoderConfig& config, const Experts& experts) {
  config.moe.num_experts = experts.num_experts;
  config.moe.top_k = experts.top_k;
  config.moe.hidden_dim = experts.hidden_dim;
  config.moe.shared_hidden_dim = experts.shared_hidden_dim;
  config.moe.normalize_top_k = experts.normalize_top_k;
}

DecoderConfig qwen3(int dim, int num_layers, int num_heads, int hidden_dim) {
  DecoderConfig config = base(Family::kQwen3Moe, 151936, dim, num_layers);
  config.attention = {.num_heads = num_heads,
                      .num_kv_heads = 4,
                      .head_dim = 128,
                      .qk_norm = QkNorm::kPerHead,
                      .rope_theta = 1e6};
  config.norm_eps = 1e-6;
  set_experts(config, {128, 8, hidden_dim});
  return config;
}

/// DeepSeek's attention (multi-head latent attention) is not ours: its heads are described as
/// plain ones, which leaves the experts exact and the attention's size approximate.
DecoderConfig deepseek(int vocab_size, int dim, int num_layers, int num_heads) {
  DecoderConfig config = base(Family::kTalpa, vocab_size, dim, num_layers);
  config.attention = {.num_heads = num_heads, .num_kv_heads = num_heads, .head_dim = 128};
  config.norm_eps = 1e-6;
  return config;
}

DecoderConfig deepseek_lite(int vocab_size, int ffn_dim) {
  DecoderConfig config = deepseek(vocab_size, 2048, 27, 16);
  set_experts(config, {64, 6, 1408, 2 * 1408, false});
  config.ffn_dim = ffn_dim;
  config.moe.dense_layers = {0};
  return config;
}

DecoderConfig deepseek_v3() {
  DecoderConfig config = deepseek(129280, 7168, 61, 128);
  set_experts(config, {256, 8, 2048, 2048});
  config.ffn_dim = 18432;
  config.moe.dense_layers = {0, 1, 2};
  return config;
}

DecoderConfig kimi_k2() {
  DecoderConfig config = deepseek(163840, 7168, 61, 64);
  set_experts(config, {384, 8, 2048, 2048});
  config.ffn_dim = 18432;
  config.moe.dense_layers = {0};
  return config;
}

DecoderConfig ling_lite() {
  DecoderConfig config = deepseek(126464, 2048, 28, 16);
  config.attention.num_kv_heads = 4;
  set_experts(config, {64, 6, 1408, 2 * 1408});
  return config;
}

DecoderConfig qwen15_moe() {
  DecoderConfig config = base(Family::kQwen2Moe, 151936, 2048, 24);
  config.attention = {
      .num_heads = 16, .num_kv_heads = 16, .head_dim = 128, .qkv_bias = true, .rope_theta = 1e6};
  config.norm_eps = 1e-6;
  set_experts(config, {60, 4, 1408, 5632, false});
  config.moe.shared_gate = true;
  return config;
}

DecoderConfig olmoe() {
  DecoderConfig config = base(Family::kOlmoe, 50304, 2048, 16);
  config.attention = {
      .num_heads = 16, .num_kv_heads = 16, .head_dim = 128, .qk_norm = QkNorm::kFullWidth};
  config.max_positions = 4096;
  set_experts(config, {64, 8, 1024, 0, false});
  return config;
}

DecoderConfig mixtral() {
  DecoderConfig config = base(Family::kMixtral, 32000, 4096, 32);
  config.attention = {.num_heads = 32, .num_kv_heads = 8, .head_dim = 128, .rope_theta = 1e6};
  set_experts(config, {8, 2, 14336});
  return config;
}

}  // namespace

const std::vector<PublishedModel>& published_models() {
  static const std::vector<PublishedModel> models = {
      {"qwen3-30b-a3b", qwen3(2048, 48, 32, 768), 30'532'122'624},
      {"qwen3-235b-a22b", qwen3(4096, 94, 64, 1536), 235'093'634'560},
      {"deepseek-v2-lite", deepseek_lite(102400, 10944), 15'706'484'224},
      {"deepseek-v3", deepseek_v3(), 671'026'419'200},
      {"kimi-k2", kimi_k2(), 1'026'408'232'448},
      {"qwen1.5-moe-a2.7b", qwen15_moe(), 14'315'784'192},
      {"olmoe-1b-7b", olmoe(), 6'919'161'856},
      {"mixtral-8x7b", mixtral(), 46'702'792'704},
      {"moonlight-16b-a3b", deepseek_lite(163840, 11264), 15'960'111'936},
      {"ling-lite", ling_lite(), 16'801'974'272},
  };
  return models;
}

}  // namespace talpa
