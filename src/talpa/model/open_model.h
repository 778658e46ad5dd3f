#pragma once

#include "talpa/model/weights.h"

namespace talpa {

/// The two halves of open_model.
ModelFiles open_hf_model(const std::filesystem::path& path);
ModelFiles open_gguf_model(const std::filesystem::path& path);

}  // namespace talpa
