#pragma once

#include <filesystem>
#include <optional>

#include "talpa/train/optimizer.h"
#include "talpa/train/task.h"

namespace talpa::train {

/// A checkpoint is a Hugging Face directory (fp32, readable by everything else) with the
/// optimiser's state in `optimizer.safetensors` and the position in `trainer.json`, written
/// beside and renamed; `latest` in the parent names the newest. Older ones beyond `keep` go.
void save_checkpoint(const std::filesystem::path& directory, std::int64_t step, Task& task,
                     const Optimizer& optimizer, int keep);

/// Newest complete checkpoint of a directory, if any.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& directory);

/// Restores model and optimiser; returns the number of steps done. Throws kFormat or kShape
/// naming the tensor when it does not fit the recipe.
std::int64_t load_checkpoint(const std::filesystem::path& checkpoint, Task& task,
                             Optimizer& optimizer);

}  // namespace talpa::train
