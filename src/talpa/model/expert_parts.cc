// n model width, m expert width, r latent width, k_b rank of a basis, N experts, K active,
// G groups.
#include "talpa/model/expert_parts.h"

#include "talpa/model/accounting.h"

namespace talpa {

ExpertParts expert_parts(const DecoderConfig& config) {
  const LatentConfig& latent = config.moe.latent;
  const std::int64_t n = config.dim;
  const std::int64_t m = config.moe.hidden_dim;
  const std::int64_t mix = latent.mixed ? config.num_groups() : 0;
  ExpertParts parts;
  auto add_latent = [&](const LatentSize& size) {
    const std::int64_t r = size.width, rank = size.rank;
    parts.mixing += mix;
    parts.mixed_outputs += mix * r;
    parts.formed += r * n;
    // U without its identity rows, V, and where those rows stand.
    const std::int64_t macs = rank > 0 ? rank * (r - rank) + rank * n : r * n;
    parts.group_macs += macs;
    parts.per_group += rank > 0 ? macs + r : macs;
  };
  bool shares = false;  // of gate and up, the first has come
  auto add_matrix = [&](bool factored, const LatentSize& size, bool shared) {
    if (!latent.enabled() || !factored) {
      parts.untouched += m * n;
      return;
    }
    parts.dense += m * n;
    parts.per_expert += m * size.width;
    if (!shared || !shares) add_latent(size);
    shares = shares || shared;
  };
  add_matrix(latent.factor_gate, latent.input_size(), latent.share_gate_up_latent);
  add_matrix(latent.factor_up, latent.input_size(), latent.share_gate_up_latent);
  add_matrix(latent.factor_down, latent.output_size(), false);
  parts.per_expert += parts.mixing;
  return parts;
}

ExpertParts expert_parts(DecoderConfig config, int r) {
  config.moe.latent.latent_dim = r;
  return expert_parts(config);
}

std::int64_t stored_expert_params(const DecoderConfig& config, const ExpertParts& parts) {
  return config.moe.num_experts * (parts.untouched + parts.per_expert) +
         config.num_groups() * parts.per_group;
}

std::int64_t dense_expert_params(const DecoderConfig& config) {
  return std::int64_t{3} * config.moe.num_experts * config.moe.hidden_dim * config.dim;
}

double expert_macs(const DecoderConfig& config) {
  const MoeConfig& moe = config.moe;
  const ExpertParts parts = expert_parts(config);
  const double K = moe.top_k;
  const double private_macs =
      K * static_cast<double>(parts.untouched + parts.per_expert - parts.mixing);
  const auto group = static_cast<double>(parts.group_macs);
  if (!moe.latent.mixed)
    return private_macs +
           expected_groups_hit(moe.num_experts, config.group_size(), moe.top_k) * group;
  // Nonlinear mixtures are matrices of each expert's own, kept once computed (MoBE section 3).
  if (moe.latent.basis_activation != BasisActivation::kNone)
    return private_macs + K * static_cast<double>(parts.formed);
  // Linear ones commute with the mixing: all bases once, then r mixed numbers an expert.
  return private_macs + config.num_groups() * group + K * static_cast<double>(parts.mixed_outputs);
}

int num_moe_layers(const DecoderConfig& config) {
  return config.has_moe() ? config.num_layers - static_cast<int>(config.moe.dense_layers.size())
                          : 0;
}

}  // namespace talpa
