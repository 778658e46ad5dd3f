#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace talpa {

/// `weight_map` of a `model.safetensors.index.json`: tensor name to shard file name. Throws
/// kFormat if it is malformed, names a tensor twice, or names a shard that is not a plain file
/// name beside the index.
std::map<std::string, std::string> read_safetensors_index(const std::filesystem::path& path);

}  // namespace talpa
