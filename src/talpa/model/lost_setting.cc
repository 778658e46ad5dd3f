#include "talpa/model/lost_setting.h"

namespace talpa {
namespace {

/// The description with settings that mean nothing for this model at their defaults.
DecoderConfig essential(DecoderConfig config) {
  bool dense = false;
  for (int layer = 0; layer < config.num_layers; ++layer) dense |= !config.is_moe_layer(layer);
  if (!dense) config.ffn_dim = 0;
  if (!config.has_moe()) config.moe = {};
  if (config.moe.latent.enabled()) {
    config.moe.latent.group_size = config.group_size();
  } else {
    config.moe.latent = {};
  }
  if (config.family != Family::kTalpa) config.origin = Family::kTalpa;
  return config;
}

std::string first_difference(const Json& wanted, const Json& written, const std::string& path) {
  for (const auto& [key, value] : wanted.items()) {
    if (written.at(key) == value) continue;
    const std::string name = detail::join(path, key);
    return value.is_object() ? first_difference(value, written.at(key), name)
                             : fmt::format("{} = {}", name, value.dump());
  }
  return {};
}

}  // namespace

std::string lost_setting(const DecoderConfig& wanted, const DecoderConfig& written) {
  return first_difference(config_to_json(essential(wanted)), config_to_json(essential(written)),
                          {});
}

}  // namespace talpa
