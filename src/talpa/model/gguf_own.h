#pragma once

#include "talpa/model/gguf_config.h"

namespace talpa {

/// talpa's own architecture in GGUF files, for latent experts and whatever else no architecture of
/// llama.cpp can say; other programs reject it by its name. The description is one string of JSON
/// under "talpa.config", the tensors have talpa's names and shapes (weights.h), the tokenizer is as
/// in other files.
inline constexpr const char* kOwnArchitecture = "talpa";
inline constexpr const char* kOwnConfigKey = "talpa.config";

/// Throws kFormat for a description that is missing or malformed, kConfig for one that
/// contradicts itself.
DecoderConfig from_own_gguf(const GgufDescription& description);
GgufMetadata to_own_gguf_metadata(const DecoderConfig& config);

}  // namespace talpa
