#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "talpa/model/decoder_config.h"

namespace talpa {

/// Parameters, multiply-adds and bytes of a description. Counts are exact integers from
/// weight_specs; expectations assume uniform, independent routing.
struct Account {
  std::int64_t total_params = 0;
  std::int64_t active_params =
      0;  ///< touched by one token (embedding row not counted, head counted)
  std::int64_t expert_params = 0;     ///< routed experts of all layers, latent projections included
  std::int64_t embedding_params = 0;  ///< embedding and head, once when tied
  double macs_per_token =
      0;  ///< without attention over the context; latents once per distinct group
  double expert_macs_per_token = 0;
  std::int64_t kv_elements_per_token = 0;  ///< keys and values of all layers
};
Account account_of(const DecoderConfig& config);

/// Expected distinct groups a token hits: G (1 - C(N-k, K) / C(N, K))   (mole.md 1.5).
double expected_groups_hit(int num_experts, int group_size, int top_k);
/// Expected distinct experts (or groups) that a batch of `batch` independent tokens touches.
double expected_experts_hit(int num_experts, int top_k, int batch);
double expected_groups_hit(int num_experts, int group_size, int top_k, int batch);
/// Expected bytes of routed-expert weights that one layer reads for a batch, at
/// `bytes_per_param`.
double expert_bytes_read(const DecoderConfig& config, int batch, double bytes_per_param);

/// What a latent setting makes of an MoE. `refusal` says why it is refused (it would store more
/// than dense experts, or does not fit), naming the break-even, else empty.
struct LatentOutlook {
  LatentConfig latent;
  double rho = 0;            ///< size of the factored matrices relative to dense
  double expert_ratio = 0;   ///< stored routed-expert parameters, relative to dense
  double model_ratio = 0;    ///< stored parameters of the whole model, relative
  double read_ratio_1 = 0;   ///< routed-expert bytes read at batch 1, relative
  double read_ratio_32 = 0;  ///< the same at batch 32
  double mac_ratio = 0;      ///< routed-expert multiply-adds a token, relative
  std::string refusal;
};
LatentOutlook latent_outlook(const DecoderConfig& moe, const LatentConfig& latent);

/// Largest latent_dim (multiple of `step`) whose stored share of routed-expert parameters is at
/// most `budget`; nullopt if none is positive (or above a given basis_rank).
std::optional<int> latent_dim_for_budget(const DecoderConfig& moe, LatentConfig latent,
                                         double budget, int step = 8);
/// Largest basis_rank likewise, of mixed bases of a given latent_dim; nullopt if none is small
/// enough.
std::optional<int> basis_rank_for_budget(const DecoderConfig& moe, LatentConfig latent,
                                         double budget, int step = 8);

/// Descriptions of published models, for accounting and benchmarks without weights:
/// "qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v2-lite", "deepseek-v3", "kimi-k2",
/// "qwen1.5-moe-a2.7b", "olmoe-1b-7b", "mixtral-8x7b", "moonlight-16b-a3b", "ling-lite".
struct PublishedModel {
  std::string name;
  DecoderConfig config;
  std::int64_t total_params;  ///< as published; attention of some is not ours, so this is given
};
const std::vector<PublishedModel>& published_models();

}  // namespace talpa
