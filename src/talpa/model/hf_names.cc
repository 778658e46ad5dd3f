#include "talpa/model/hf_names.h"

#include <charconv>
#include <map>

#include "talpa/model/families/family.h"

namespace talpa {
namespace {

const std::map<std::string_view, const char*>& global_names() {
  static const std::map<std::string_view, const char*> names = {
      {"embed", "model.embed_tokens.weight"},
      {"norm", "model.norm.weight"},
      {"head", "lm_head.weight"},
  };
  return names;
}

const std::map<std::string_view, const char*>& hf_layer_names() {
  static const std::map<std::string_view, const char*> names = {
      {"attn_norm", "input_layernorm.weight"},
      {"attn.q", "self_attn.q_proj.weight"},
      {"attn.k", "self_attn.k_proj.weight"},
      {"attn.v", "self_attn.v_proj.weight"},
      {"attn.o", "self_attn.o_proj.weight"},
      {"attn.q_bias", "self_attn.q_proj.bias"},
      {"attn.k_bias", "self_attn.k_proj.bias"},
      {"attn.v_bias", "self_attn.v_proj.bias"},
      {"attn.q_norm", "self_attn.q_norm.weight"},
      {"attn.k_norm", "self_attn.k_norm.weight"},
      {"ffn_norm", "post_attention_layernorm.weight"},
      {"ffn.gate", "mlp.gate_proj.weight"},
      {"ffn.up", "mlp.up_proj.weight"},
      {"ffn.down", "mlp.down_proj.weight"},
      {"shared.gate", "mlp.shared_expert.gate_proj.weight"},
      {"shared.up", "mlp.shared_expert.up_proj.weight"},
      {"shared.down", "mlp.shared_expert.down_proj.weight"},
      {"shared.router", "mlp.shared_expert_gate.weight"},
      {"moe.router_bias", "mlp.gate.e_score_correction_bias"},
      {"moe.gate_in", "mlp.fc1_latent_proj.gate.weight"},
      {"moe.up_in", "mlp.fc1_latent_proj.up.weight"},
      {"moe.gate_up_in", "mlp.fc1_latent_proj.weight"},
      {"moe.down_out", "mlp.fc2_latent_proj.weight"},
      {"moe.gate_basis", "mlp.fc1_latent_basis.gate.weight"},
      {"moe.up_basis", "mlp.fc1_latent_basis.up.weight"},
      {"moe.gate_up_basis", "mlp.fc1_latent_basis.weight"},
      {"moe.down_basis", "mlp.fc2_latent_basis.weight"},
      {"moe.gate_pivot", "mlp.fc1_latent_pivot.gate.weight"},
      {"moe.up_pivot", "mlp.fc1_latent_pivot.up.weight"},
      {"moe.gate_up_pivot", "mlp.fc1_latent_pivot.weight"},
      {"moe.down_pivot", "mlp.fc2_latent_pivot.weight"},
      {"moe.gate_mix", "mlp.fc1_latent_mix.gate.weight"},
      {"moe.up_mix", "mlp.fc1_latent_mix.up.weight"},
      {"moe.gate_up_mix", "mlp.fc1_latent_mix.weight"},
      {"moe.down_mix", "mlp.fc2_latent_mix.weight"},
  };
  return names;
}

std::string layer_name(const HfExpertNames& experts, std::string_view role) {
  if (role == "moe.router") return experts.router;
  if (role == "moe.gate") return experts.gate;
  if (role == "moe.up") return experts.up;
  if (role == "moe.down") return experts.down;
  const auto it = hf_layer_names().find(role);
  if (it == hf_layer_names().end())
    fail(ErrorCode::kInternal, "tensor {} has no Hugging Face name", role);
  return it->second;
}

}  // namespace

WeightName split_weight_name(std::string_view name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return {-1, name};
  const std::size_t dot = name.find('.', kPrefix.size());
  int layer = -1;
  if (dot != std::string_view::npos)
    std::from_chars(name.data() + kPrefix.size(), name.data() + dot, layer);
  if (layer < 0) fail(ErrorCode::kInternal, "malformed tensor name {}", name);
  return {layer, name.substr(dot + 1)};
}

std::vector<StoredPart> hf_parts(const DecoderConfig& config, const WeightSpec& spec) {
  const WeightName name = split_weight_name(spec.name);
  if (name.layer < 0) return {{global_names().at(name.role), -1}};
  const std::string stored = fmt::format("model.layers.{}.", name.layer) +
                             layer_name(adapter_of(config.family).experts, name.role);
  const std::size_t number = stored.find("{}");
  if (number == std::string::npos) return {{stored, -1}};
  std::vector<StoredPart> parts;
  for (std::int64_t expert = 0; expert < spec.shape.front(); ++expert)
    parts.push_back(
        {stored.substr(0, number) + std::to_string(expert) + stored.substr(number + 2), expert});
  return parts;
}

}  // namespace talpa
