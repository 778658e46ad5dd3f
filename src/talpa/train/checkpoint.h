#pragma once

#include <filesystem>
#include <optional>

#include "talpa/train/ema.h"
#include "talpa/train/optimizer.h"
#include "talpa/train/replicas.h"
#include "talpa/train/spike_guard.h"
#include "talpa/train/task.h"

namespace talpa::train {

/// All that a run goes on from. Step and data order follow from the recipe.
struct TrainingState {
  Task& task;
  Optimizer& optimizer;
  SpikeGuard& guard;
  Ema* ema = nullptr;            ///< where there is one
  Replicas* replicas = nullptr;  ///< where several processes train
  bool sharded = false;          ///< the optimiser keeps a part of the state only
};

/// A checkpoint is a Hugging Face directory (fp32, readable by everything else) with the
/// optimiser's state in `optimizer.safetensors`, averages in `ema.safetensors` and the position in
/// `trainer.json`. It is written beside and renamed, so that whatever ends the process leaves the
/// older ones whole; `latest` in the parent names the newest. Older ones beyond `keep` go. Replicas
/// all call it and the first writes; what is written does not depend on their number.
void save_checkpoint(const std::filesystem::path& directory, std::int64_t step,
                     const TrainingState& state, int keep);

/// Newest complete checkpoint of a directory, if any.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& directory);

/// Removes what an interrupted save or removal left in a directory of checkpoints.
void remove_partial_checkpoints(const std::filesystem::path& directory);

/// Restores the state; returns the number of steps done. Averages that the checkpoint lacks start
/// from its weights. Throws kFormat or kShape naming the tensor when it does not fit the recipe.
std::int64_t load_checkpoint(const std::filesystem::path& checkpoint, const TrainingState& state);

}  // namespace talpa::train
