#pragma once

#include <filesystem>

namespace talpa {

/// Throws kUsage where writing `output` would replace `input` or a folder that holds it; symbolic
/// links are followed. An empty `input` is none.
void check_not_input(const std::filesystem::path& output, const std::filesystem::path& input);

}  // namespace talpa
