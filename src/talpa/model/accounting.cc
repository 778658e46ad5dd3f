// n model width, m expert width, r latent width, N experts, K active, k experts a group,
// G = N / k groups.
#include "talpa/model/accounting.h"

#include <algorithm>
#include <cmath>

#include "talpa/model/hf_names.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

bool is_expert_weight(std::string_view role) {
  return role.starts_with("moe.") && role != "moe.router";
}

/// Parameters of one MoE layer's routed experts by how a token reaches them.
struct ExpertParts {
  std::int64_t dense = 0;       ///< of the factored matrices, were they dense, one expert
  std::int64_t untouched = 0;   ///< matrices that are not factored, one expert
  std::int64_t per_expert = 0;  ///< factors and mixing weights that each expert has of its own
  std::int64_t per_group = 0;   ///< latent projections of a group
  std::int64_t mixing = 0;      ///< the part of per_expert that does not grow with r
};

ExpertParts expert_parts(const DecoderConfig& config, std::int64_t r) {
  const LatentConfig& latent = config.moe.latent;
  const std::int64_t n = config.dim;
  const std::int64_t m = config.moe.hidden_dim;
  const std::int64_t mix = latent.mixed ? config.num_groups() : 0;
  const bool on = latent.enabled();
  ExpertParts parts;
  std::int64_t latents = 0;
  for (const bool factored : {latent.factor_gate, latent.factor_up, latent.factor_down}) {
    if (!on || !factored) {
      parts.untouched += m * n;
      continue;
    }
    parts.dense += m * n;
    parts.per_expert += m * r;
    ++latents;
  }
  if (on && latent.share_gate_up_latent) --latents;
  parts.mixing = latents * mix;
  parts.per_expert += parts.mixing;
  parts.per_group = latents * r * n;
  return parts;
}
ExpertParts expert_parts(const DecoderConfig& config) {
  return expert_parts(config, config.moe.latent.latent_dim);
}

/// Routed-expert parameters of one layer.
std::int64_t stored(const DecoderConfig& config, const ExpertParts& parts) {
  return config.moe.num_experts * (parts.untouched + parts.per_expert) +
         config.num_groups() * parts.per_group;
}

/// Multiply-adds of one token in the routed experts of one layer.
double expert_macs(const DecoderConfig& config) {
  const MoeConfig& moe = config.moe;
  const ExpertParts parts = expert_parts(config);
  const double K = moe.top_k;
  const double private_macs =
      K * static_cast<double>(parts.untouched + parts.per_expert - parts.mixing);
  const auto group = static_cast<double>(parts.per_group);
  if (!moe.latent.mixed)
    return private_macs +
           expected_groups_hit(moe.num_experts, config.group_size(), moe.top_k) * group;
  // Nonlinear mixtures are matrices of each expert's own, kept once computed (MoBE section 3).
  if (moe.latent.basis_activation != BasisActivation::kNone) return private_macs + K * group;
  // Linear ones commute with the mixing: all bases once, then r mixed numbers an expert.
  const double mixed_outputs = K * static_cast<double>(parts.mixing * moe.latent.latent_dim);
  return private_macs + config.num_groups() * group + mixed_outputs;
}

int num_moe_layers(const DecoderConfig& config) {
  return config.has_moe() ? config.num_layers - static_cast<int>(config.moe.dense_layers.size())
                          : 0;
}

/// Chance that a token's K experts miss a given set of `size` experts.
double chance_missed(int num_experts, int size, int top_k) {
  if (num_experts - size < top_k) return 0;
  double chance = 1;
  for (int i = 0; i < top_k; ++i)
    chance *= static_cast<double>(num_experts - size - i) / (num_experts - i);
  return chance;
}

/// Largest real r at which the routed experts of a layer take `budget` parameters.
double latent_dim_at(const DecoderConfig& config, double budget) {
  const ExpertParts none = expert_parts(config, 0);
  const auto base = static_cast<double>(stored(config, none));
  const double slope = static_cast<double>(stored(config, expert_parts(config, 1))) - base;
  return (budget - base) / slope;
}

std::int64_t dense_expert_params(const DecoderConfig& config) {
  return std::int64_t{3} * config.moe.num_experts * config.moe.hidden_dim * config.dim;
}

std::string why_refused(const DecoderConfig& config, double expert_ratio) {
  if (expert_ratio < 1) return {};
  const double even = latent_dim_at(config, static_cast<double>(dense_expert_params(config)));
  const std::string limit = even > 1 ? fmt::format("latent_dim must be below {:.1f}", even)
                                     : "no latent_dim is small enough";
  return fmt::format("stores {:.3f} times the dense experts; with group_size = {} {}", expert_ratio,
                     config.group_size(), limit);
}

double read_ratio(const DecoderConfig& latent, const DecoderConfig& dense, int batch) {
  return expert_bytes_read(latent, batch, 1) / expert_bytes_read(dense, batch, 1);
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
  const int layers = num_moe_layers(config);
  if (layers > 0) {
    account.active_params += layers * std::llround(expert_bytes_read(config, 1, 1));
    account.expert_macs_per_token = layers * expert_macs(config);
  }
  account.macs_per_token = rest_macs + account.expert_macs_per_token;
  account.kv_elements_per_token = std::int64_t{2} * config.num_layers *
                                  config.attention.num_kv_heads * config.attention.head_dim;
  return account;
}

LatentOutlook latent_outlook(const DecoderConfig& moe, const LatentConfig& latent) {
  LatentOutlook outlook;
  outlook.latent = latent;
  DecoderConfig dense = moe;
  dense.moe.latent = {};
  DecoderConfig changed = moe;
  changed.moe.latent = latent;
  try {
    changed.validate({});
    if (!changed.has_moe() || !latent.enabled())
      fail(ErrorCode::kConfig, "there are no experts to make latent");
  } catch (const Error& error) {
    outlook.refusal = error.what();
    return outlook;
  }
  const ExpertParts parts = expert_parts(changed);
  const auto dense_params = static_cast<double>(dense_expert_params(dense));
  const double N = moe.moe.num_experts;
  const auto params = static_cast<double>(stored(changed, parts));
  outlook.rho =
      (params - N * static_cast<double>(parts.untouched)) / (N * static_cast<double>(parts.dense));
  outlook.expert_ratio = params / dense_params;
  const auto total = static_cast<double>(account_of(dense).total_params);
  outlook.model_ratio = 1 - num_moe_layers(dense) * (dense_params - params) / total;
  outlook.read_ratio_1 = read_ratio(changed, dense, 1);
  outlook.read_ratio_32 = read_ratio(changed, dense, 32);
  outlook.mac_ratio = expert_macs(changed) / expert_macs(dense);
  outlook.refusal = why_refused(changed, outlook.expert_ratio);
  return outlook;
}

std::optional<int> latent_dim_for_budget(const DecoderConfig& moe, LatentConfig latent,
                                         double budget, int step) {
  DecoderConfig config = moe;
  latent.latent_dim = 1;
  config.moe.latent = latent;
  config.validate({});
  const auto dense = static_cast<double>(dense_expert_params(config));
  // The largest whole number whose share is within the budget, not one rounding below it.
  auto fits = [&](std::int64_t r) {
    return static_cast<double>(stored(config, expert_parts(config, r))) <= budget * dense;
  };
  const double largest = std::clamp(latent_dim_at(config, budget * dense), 0.0, 1e6);
  std::int64_t r = (static_cast<std::int64_t>(largest) / step + 1) * step;
  while (r > 0 && !fits(r)) r -= step;
  return r > 0 ? std::optional<int>(static_cast<int>(r)) : std::nullopt;
}

}  // namespace talpa
