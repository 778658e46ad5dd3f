#include "nn/decoders.h"

#include <torch/torch.h>

#include "talpa/base/random.h"
#include "talpa/model/basis_pivots.h"

namespace talpa::testing {
namespace {

NamedConfig with_selection_bias() {
  DecoderConfig config = tiny_moe();
  config.family = Family::kTalpa;
  config.moe.selection_bias = true;
  return {"selection_bias", config};
}

NamedConfig with_latent(const std::string& name, const LatentConfig& latent) {
  DecoderConfig config = tiny_moe();
  config.family = Family::kTalpa;
  config.moe.latent = latent;
  return {name, config};
}

DecoderConfig dense() {
  DecoderConfig config;
  config.vocab_size = 11;
  config.dim = 8;
  config.num_layers = 2;
  config.ffn_dim = 12;
  config.max_positions = 32;
  config.attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 4};
  return config;
}

DecoderConfig llama() {
  DecoderConfig config = dense();
  config.tie_embeddings = true;
  return config;
}

DecoderConfig qwen2_moe() {
  DecoderConfig config = tiny_moe();
  config.family = Family::kQwen2Moe;
  config.attention.qkv_bias = true;
  config.moe.normalize_top_k = false;
  config.moe.shared_hidden_dim = 7;
  config.moe.shared_gate = true;
  config.moe.dense_layers = {0};
  return config;
}

DecoderConfig qwen3_moe() {
  DecoderConfig config = tiny_moe();
  config.family = Family::kQwen3Moe;
  config.attention.qk_norm = QkNorm::kPerHead;
  return config;
}

DecoderConfig olmoe() {
  DecoderConfig config = tiny_moe();
  config.family = Family::kOlmoe;
  config.attention.qk_norm = QkNorm::kFullWidth;
  config.attention.clip_qkv = 1.5;
  config.moe.normalize_top_k = false;
  return config;
}

/// Ones at `rank` random places of each row.
void fill_pivots(at::Tensor& mask_Gr, int rank, Random& random) {
  mask_Gr.zero_();
  for (std::int64_t g = 0; g < mask_Gr.size(0); ++g)
    for (int left = rank; left > 0;) {
      const auto i = static_cast<std::int64_t>(random.below(mask_Gr.size(1)));
      if (mask_Gr[g][i].item<double>() != 0) continue;
      mask_Gr[g][i] = 1;
      --left;
    }
}

}  // namespace

DecoderConfig tiny_moe() {
  DecoderConfig config = dense();
  config.family = Family::kMixtral;
  config.moe.num_experts = 4;
  config.moe.top_k = 2;
  config.moe.hidden_dim = 6;
  return config;
}

std::vector<NamedConfig> family_configs() {
  return {{"llama", llama()},
          {"mixtral", tiny_moe()},
          {"qwen2_moe", qwen2_moe()},
          {"qwen3_moe", qwen3_moe()},
          {"olmoe", olmoe()}};
}

std::vector<NamedConfig> latent_configs() {
  using enum BasisActivation;
  return {
      with_latent("groups", {.latent_dim = 5, .group_size = 2}),
      with_latent("one_group", {.latent_dim = 5}),
      with_latent("group_of_one", {.latent_dim = 3, .group_size = 1}),
      with_latent("gate_only", {.latent_dim = 5, .group_size = 2, .factor_up = false}),
      with_latent("up_only", {.latent_dim = 5, .group_size = 2, .factor_gate = false}),
      with_latent("down_only", {.latent_dim = 5,
                                .group_size = 2,
                                .factor_gate = false,
                                .factor_up = false,
                                .factor_down = true}),
      with_latent("all_factored", {.latent_dim = 5, .group_size = 2, .factor_down = true}),
      with_latent("shared", {.latent_dim = 5, .group_size = 2, .share_gate_up_latent = true}),
      with_latent("latent_moe",
                  {.latent_dim = 5, .factor_down = true, .share_gate_up_latent = true}),
      with_latent("mixed", {.latent_dim = 5, .group_size = 2, .mixed = true}),
      with_latent("mixed_silu", {.latent_dim = 5,
                                 .group_size = 2,
                                 .factor_down = true,
                                 .mixed = true,
                                 .basis_activation = kSilu}),
      with_latent("mixed_tanh_shared", {.latent_dim = 5,
                                        .group_size = 2,
                                        .factor_down = true,
                                        .share_gate_up_latent = true,
                                        .mixed = true,
                                        .basis_activation = kTanh}),
      with_latent("mobe",
                  {.latent_dim = 6, .group_size = 2, .mixed = true, .basis_activation = kSilu}),
      with_latent("slbf", {.latent_dim = 6,
                           .group_size = 1,
                           .factor_down = true,
                           .mixed = true,
                           .basis_activation = kSilu,
                           .basis_rank = 2}),
      with_latent("low_rank_shared", {.latent_dim = 5,
                                      .group_size = 2,
                                      .share_gate_up_latent = true,
                                      .mixed = true,
                                      .basis_rank = 3}),
      with_latent("down_apart",
                  {.latent_dim = 5, .group_size = 2, .factor_down = true, .down_latent_dim = 3}),
      with_latent("low_rank_down_apart", {.latent_dim = 5,
                                          .group_size = 2,
                                          .factor_down = true,
                                          .mixed = true,
                                          .basis_activation = kTanh,
                                          .basis_rank = 3,
                                          .down_latent_dim = 6,
                                          .down_basis_rank = 2}),
  };
}

std::vector<NamedConfig> all_configs() {
  auto configs = family_configs();
  configs.push_back(with_selection_bias());
  for (auto& named : latent_configs()) configs.push_back(std::move(named));
  return configs;
}

nn::Decoder random_decoder(const DecoderConfig& config, std::uint64_t seed, at::ScalarType dtype) {
  nn::Decoder decoder(config, dtype);
  for (auto& [name, tensor] : decoder.parameters()) {
    Random random(seed, name);
    if (is_pivot(name)) {
      fill_pivots(tensor, latent_size_of(config.moe.latent, name).rank, random);
      continue;
    }
    at::Tensor values = at::empty(tensor.sizes(), at::kDouble);
    const double mean = name.ends_with("norm") ? 1 : 0;
    for (std::int64_t i = 0; i < values.numel(); ++i)
      values.data_ptr<double>()[i] = mean + 0.4 * random.normal();
    tensor.copy_(values);
  }
  return decoder;
}

at::Tensor random_tokens(const DecoderConfig& config, int sequences, int tokens,
                         std::uint64_t seed) {
  Random random(seed, "tokens");
  at::Tensor result = at::empty({sequences, tokens}, at::kLong);
  for (std::int64_t i = 0; i < result.numel(); ++i)
    result.data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(random.below(config.vocab_size));
  return result;
}

}  // namespace talpa::testing
