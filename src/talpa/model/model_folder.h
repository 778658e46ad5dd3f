#pragma once

#include <filesystem>

namespace talpa {

/// What a model's folder that is about to be replaced may hold. Throws kUsage, naming it, for the
/// first file that no model has, and where `path` is no folder; a path that is not there passes.
void check_replaceable_model(const std::filesystem::path& path);

}  // namespace talpa
