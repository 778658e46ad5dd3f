#pragma once

#include <vector>

#include "scratch.h"
#include "talpa/model/weights.h"

namespace talpa::testing {

inline constexpr Family kFamilies[] = {Family::kLlama,    Family::kMixtral, Family::kQwen2Moe,
                                       Family::kQwen3Moe, Family::kOlmoe,   Family::kTalpa};

inline DecoderConfig small_moe(Family family) {
  DecoderConfig config;
  config.family = family;
  config.vocab_size = 128;
  config.dim = 48;
  config.num_layers = 3;
  config.bos_token = 1;
  config.eos_tokens = {2, 7};
  config.max_positions = 512;
  config.attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .rope_theta = 5000};
  config.moe.num_experts = 8;
  config.moe.hidden_dim = 24;
  return config;
}

/// A small description that uses what is particular to its family.
inline DecoderConfig config_of(Family family) {
  DecoderConfig config = small_moe(family);
  switch (family) {
    case Family::kLlama:
      config.moe = {};
      config.ffn_dim = 96;
      config.tie_embeddings = true;
      break;
    case Family::kMixtral:
      break;
    case Family::kQwen2Moe:
      config.attention.qkv_bias = true;
      config.moe.shared_hidden_dim = 40;
      config.moe.shared_gate = true;
      config.moe.normalize_top_k = false;
      config.ffn_dim = 96;
      break;
    case Family::kQwen3Moe:
      config.attention.qk_norm = QkNorm::kPerHead;
      config.moe.dense_layers = {0, 2};
      config.moe.z_loss = 0.001;
      config.ffn_dim = 96;
      break;
    case Family::kOlmoe:
      config.attention.qk_norm = QkNorm::kFullWidth;
      config.attention.clip_qkv = 8;
      break;
    case Family::kTalpa:
      config.origin = Family::kQwen3Moe;
      config.moe.latent = {.latent_dim = 16, .group_size = 4, .factor_down = true};
      break;
  }
  return config;
}

}  // namespace talpa::testing
