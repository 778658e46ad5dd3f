#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "talpa/engine/model.h"

namespace talpa {

/// Tokens a second, medians over rounds. Per core-second is what the work costs (CPU time of the
/// process), per second is what the clock saw; on a machine shared with others the first holds.
struct Speed {
  double prefill_per_core_second = 0;
  double decode_per_core_second = 0;
  double prefill_per_second = 0;
  double decode_per_second = 0;
};

struct SpeedOptions {
  int prompt_tokens = 256;
  int decode_tokens = 32;
  int rounds = 5;
  const std::atomic<bool>* cancelled = nullptr;     ///< throws kInterrupted when set
  std::function<void(std::int64_t done)> progress;  ///< model runs, of rounds * models
};

/// Times models in turn, round after round, on the same tokens (repeated when they are too few),
/// so that what disturbs the machine disturbs all alike. One round before is not counted.
std::vector<Speed> measure_speed(std::span<Model* const> models, std::span<const TokenId> tokens,
                                 const SpeedOptions& options = {});

}  // namespace talpa
