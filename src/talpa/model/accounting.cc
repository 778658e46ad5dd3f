// N experts, K active, k experts a group, G = N / k groups.
#include "talpa/model/accounting.h"

#include <cmath>

#include "talpa/model/expert_parts.h"
#include "talpa/model/hf_names.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

bool is_expert_weight(std::string_view role) {
  return role.starts_with("moe.") && !role.starts_with("moe.router");
}

/// Chance that a token's K experts miss a given set of `size` experts.
double chance_missed(int num_experts, int size, int top_k) {
  if (num_experts - size < top_k) return 0;
  double chance = 1;
  for (int i = 0; i < top_k; ++i)
    chance *= static_cast<double>(num_experts - size - i) / (num_experts - i);
  return chance;
}

}  // namespace

double expected_groups_hit(int num_experts, int group_size, int top_k, int batch) {
  const double groups = static_cast<double>(num_experts) / group_size;
  return groups * (1 - std::pow(chance_missed(num_experts, group_size, top_k), batch));
}

double expected_groups_hit(int num_experts, int group_size, int top_k) {
  return expected_groups_hit(num_experts, group_size, top_k, 1);
}

double expected_experts_hit(int num_experts, int top_k, int batch) {
  return expected_groups_hit(num_experts, 1, top_k, batch);
}

double expert_bytes_read(const DecoderConfig& config, int batch, double bytes_per_param) {
  if (!config.has_moe()) return 0;
  const MoeConfig& moe = config.moe;
  const ExpertParts parts = expert_parts(config);
  const double experts = expected_experts_hit(moe.num_experts, moe.top_k, batch);
  const double groups = moe.latent.mixed ? config.num_groups()
                                         : expected_groups_hit(moe.num_experts, config.group_size(),
                                                               moe.top_k, batch);
  return bytes_per_param * (experts * static_cast<double>(parts.untouched + parts.per_expert) +
                            groups * static_cast<double>(parts.per_group));
}

Account account_of(const DecoderConfig& config) {
  Account account;
  double rest_macs = 0;
  for (const WeightSpec& spec : weight_specs(config)) {
    const std::int64_t count = num_elements(spec.shape);
    const std::string_view role = split_weight_name(spec.name).role;
    account.total_params += count;
    if (role == "embed" || role == "head") account.embedding_params += count;
    if (is_expert_weight(role)) {
      account.expert_params += count;
      continue;
    }
    const bool lookup = role == "embed" && !config.tie_embeddings;
    if (!lookup) account.active_params += count;
    if (!lookup && spec.shape.size() == 2) rest_macs += static_cast<double>(count);
  }
  DecoderConfig one = config;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    if (!config.is_moe_layer(layer)) continue;
    one.moe.latent = config.moe.latent.of_layer(layer);
    account.active_params += std::llround(expert_bytes_read(one, 1, 1));
    account.expert_macs_per_token += expert_macs(one);
  }
  account.macs_per_token = rest_macs + account.expert_macs_per_token;
  account.kv_elements_per_token = std::int64_t{2} * config.num_layers *
                                  config.attention.num_kv_heads * config.attention.head_dim;
  return account;
}

}  // namespace talpa
