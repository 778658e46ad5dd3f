#pragma once

#include <atomic>
#include <functional>
#include <span>

#include "talpa/engine/model.h"
#include "talpa/eval/windows.h"

namespace talpa {

/// Logits that score some tokens of a window: row i, of vocab_size floats, predicts targets[i].
struct ScoreBlock {
  std::size_t window = 0;
  std::span<const TokenId> targets;
  std::span<const float> logits;
};

struct ScoreOptions {
  int batch = 8;                                    ///< windows fed together
  std::size_t logit_bytes = std::size_t{64} << 20;  ///< of one model held at once
  const std::atomic<bool>* cancelled = nullptr;     ///< throws kInterrupted when set
  std::function<void(std::int64_t done)> progress;  ///< tokens fed, of tokens_fed(windows)
};

/// Tokens that score_windows feeds to each model.
std::int64_t tokens_fed(std::span<const Window> windows);

/// Feeds windows to models in lock-step: the blocks of one piece of text go to `receive` for
/// model 0, then 1, and so on, before the next piece is fed, so that a receiver need keep no more
/// than `logit_bytes` of model 0 to compare with. Models must have one vocabulary size.
void score_windows(
    std::span<Model* const> models, std::span<const Window> windows, const ScoreOptions& options,
    const std::function<void(std::size_t model, std::span<const ScoreBlock>)>& receive);

}  // namespace talpa
