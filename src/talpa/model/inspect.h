#pragma once

#include "talpa/model/accounting.h"
#include "talpa/model/weights.h"

namespace talpa {

/// What a model is and what each latent-expert setting would make of it, for `talpa inspect`.
/// Keys: `family`, `vocab_size`, `dim`, `num_layers`, `ffn_dim`, `attention` {...}, `experts`
/// (null, or {num_experts, top_k, hidden_dim, shared_hidden_dim, num_moe_layers, latent}),
/// `total_params`, `active_params`, `expert_params`, `embedding_params`, `macs_per_token`,
/// `expert_macs_per_token`, `kv_bytes_per_token` (bf16), and for an MoE with dense experts
/// `latent_settings`: rows {kind, group_size, latent_dim, basis_rank, storage, model, read_1,
/// read_32, macs, refusal}, ratios to the dense experts (`model`: to the whole model); `refusal` is
/// null or the reason, and the ratios of settings that do not fit are null.
Json inspect_report(const DecoderConfig& config);
/// The same with `path`, `format`, `stored_bytes` and `stored_types` {type: bytes}.
Json inspect_report(const ModelFiles& files);

/// The settings that inspect_report tries: groups of 2, 4, 8, ... that divide N, and N; gate and
/// up, and all three, at r = m, m/2; the LatentMoE shape at r = n/2, n/4; and at r = m MoBE's mixed
/// bases of gate and up, one for 4 or 8 experts, and SLBF's of rank m/2, m/4 of all three.
struct NamedLatent {
  /// "gate+up", "gate+up+down", "single latent", "mixed bases" or "low-rank bases"
  const char* kind;
  LatentConfig latent;
};
std::vector<NamedLatent> latent_settings_of_interest(const DecoderConfig& config);

}  // namespace talpa
