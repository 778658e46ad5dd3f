#include "talpa/model/inspect.h"

namespace talpa {
namespace {

Json experts_of(const DecoderConfig& config) {
  if (!config.has_moe()) return nullptr;
  const MoeConfig& moe = config.moe;
  return {{"num_experts", moe.num_experts},
          {"top_k", moe.top_k},
          {"hidden_dim", moe.hidden_dim},
          {"shared_hidden_dim", moe.shared_hidden_dim},
          {"num_moe_layers", config.num_layers - static_cast<int>(moe.dense_layers.size())},
          {"latent", moe.latent.enabled() ? config_to_json(moe.latent) : Json()}};
}

Json row_of(const DecoderConfig& config, const NamedLatent& named) {
  const LatentOutlook outlook = latent_outlook(config, named.latent);
  const bool fits = outlook.expert_ratio > 0;
  const auto ratio = [&](double value) { return fits ? Json(value) : Json(); };
  return {{"kind", named.kind},
          {"group_size", named.latent.group_size},
          {"latent_dim", named.latent.latent_dim},
          {"basis_rank", named.latent.basis_rank},
          {"storage", ratio(outlook.expert_ratio)},
          {"model", ratio(outlook.model_ratio)},
          {"read_1", ratio(outlook.read_ratio_1)},
          {"read_32", ratio(outlook.read_ratio_32)},
          {"macs", ratio(outlook.mac_ratio)},
          {"refusal", outlook.refusal.empty() ? Json() : Json(outlook.refusal)}};
}

void add_account(const DecoderConfig& config, Json& report) {
  const Account account = account_of(config);
  constexpr int kBytesOfBf16 = 2;
  report["total_params"] = account.total_params;
  report["active_params"] = account.active_params;
  report["expert_params"] = account.expert_params;
  report["embedding_params"] = account.embedding_params;
  report["macs_per_token"] = account.macs_per_token;
  report["expert_macs_per_token"] = account.expert_macs_per_token;
  report["kv_bytes_per_token"] = account.kv_elements_per_token * kBytesOfBf16;
}

/// MoBE's and SLBF's forms, r = m.
void add_mixed_bases(const DecoderConfig& config, std::vector<NamedLatent>& settings) {
  const int m = config.moe.hidden_dim;
  for (const int k : {4, 8})
    if (config.moe.num_experts % k == 0)
      settings.push_back({"mixed bases",
                          {.latent_dim = m,
                           .group_size = k,
                           .mixed = true,
                           .basis_activation = BasisActivation::kSilu}});
  for (const int rank : {m / 2, m / 4})
    if (rank >= 1)
      settings.push_back({"low-rank bases",
                          {.latent_dim = m,
                           .group_size = 1,
                           .factor_down = true,
                           .mixed = true,
                           .basis_activation = BasisActivation::kSilu,
                           .basis_rank = rank}});
}

}  // namespace

std::vector<NamedLatent> latent_settings_of_interest(const DecoderConfig& config) {
  const int num_experts = config.moe.num_experts;
  const int m = config.moe.hidden_dim;
  std::vector<NamedLatent> settings;
  for (const bool down : {false, true})
    for (const int r : {m, m / 2})
      for (int k = 2; k <= num_experts;
           k = k < num_experts ? std::min(2 * k, num_experts) : k + 1) {
        if (r < 1 || num_experts % k != 0) continue;
        settings.push_back({down ? "gate+up+down" : "gate+up",
                            {.latent_dim = r, .group_size = k, .factor_down = down}});
      }
  for (const int r : {config.dim / 2, config.dim / 4})
    if (r >= 1)
      settings.push_back({"single latent",
                          {.latent_dim = r,
                           .group_size = num_experts,
                           .factor_down = true,
                           .share_gate_up_latent = true}});
  add_mixed_bases(config, settings);
  return settings;
}

Json inspect_report(const DecoderConfig& config) {
  Json report = {{"family", enum_name(config.family)},
                 {"vocab_size", config.vocab_size},
                 {"dim", config.dim},
                 {"num_layers", config.num_layers},
                 {"ffn_dim", config.ffn_dim},
                 {"max_positions", config.max_positions},
                 {"tie_embeddings", config.tie_embeddings},
                 {"attention", config_to_json(config.attention)},
                 {"experts", experts_of(config)}};
  if (config.family == Family::kTalpa && config.origin != Family::kTalpa)
    report["origin"] = enum_name(config.origin);
  add_account(config, report);
  if (!config.has_moe() || config.moe.latent.enabled()) return report;
  Json rows = Json::array();
  for (const NamedLatent& named : latent_settings_of_interest(config))
    rows.push_back(row_of(config, named));
  report["latent_settings"] = std::move(rows);
  return report;
}

Json inspect_report(const ModelFiles& files) {
  Json report = inspect_report(files.config);
  report["path"] = files.path.string();
  report["format"] = files.format;
  report["stored_bytes"] = files.store->total_bytes();
  std::map<std::string, std::uint64_t> types;
  for (const auto& [name, view] : files.store->tensors())
    types[name_of(view.dtype)] += view.bytes.size();
  report["stored_types"] = types;
  return report;
}

}  // namespace talpa
