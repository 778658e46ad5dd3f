#include "talpa/model/gguf_own.h"

namespace talpa {

DecoderConfig from_own_gguf(const GgufDescription& description) {
  const Json* text = description.metadata(kOwnConfigKey);
  if (!text || !text->is_string())
    fail(ErrorCode::kFormat, "{}: metadata {}: expected the model's description",
         description.source, kOwnConfigKey);
  const std::string where = description.source + ": " + kOwnConfigKey;
  const Json json = parse_json(text->get_ref<const std::string&>(), where);
  auto config = config_from<DecoderConfig>(json, kOwnConfigKey);
  if (config.family != Family::kTalpa)
    fail(ErrorCode::kFormat, "{}: family: expected talpa, got {}", where, enum_name(config.family));
  config.validate({});
  return config;
}

GgufMetadata to_own_gguf_metadata(const DecoderConfig& config) {
  return {{"general.architecture", kOwnArchitecture},
          {kOwnConfigKey, config_to_json(config).dump()}};
}

}  // namespace talpa
