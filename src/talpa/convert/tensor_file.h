#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace talpa::convert {

using NamedTensors = std::map<std::string, at::Tensor>;

/// Writes fp32 and fp64 tensors to a safetensors file that appears whole or not at all.
void save_tensors(const std::filesystem::path& path, const NamedTensors& tensors);

/// Reads them back as they were; nullopt if there is no such file.
std::optional<NamedTensors> load_tensors(const std::filesystem::path& path);

}  // namespace talpa::convert
