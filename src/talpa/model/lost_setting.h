#pragma once

#include <string>

#include "talpa/model/decoder_config.h"

namespace talpa {

/// The first setting of `wanted` that `written`, read back from a file, does not say, as
/// "moe.top_k = 4"; empty if none. Settings that mean nothing for the model are not compared.
std::string lost_setting(const DecoderConfig& wanted, const DecoderConfig& written);

}  // namespace talpa
