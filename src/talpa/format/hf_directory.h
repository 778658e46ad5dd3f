#pragma once

#include <filesystem>
#include <optional>

#include "talpa/base/config.h"

namespace talpa {

/// A model directory as Hugging Face tools write it. Weights: open_safetensors(path).
struct HfDirectory {
  std::filesystem::path path;
  Json config;                            ///< config.json, an object
  std::optional<Json> generation_config;  ///< generation_config.json, an object, if there is one
};

/// Reads the configuration files. Throws kNotFound if `path` is not a directory or lacks
/// config.json, kFormat if a file is not a JSON object.
HfDirectory open_hf_directory(const std::filesystem::path& path);

/// True for a directory that holds config.json.
bool is_hf_directory(const std::filesystem::path& path);

}  // namespace talpa
