#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "talpa/engine/generate.h"
#include "talpa/engine/log_probability.h"

namespace talpa {

/// One prompt to be continued, scored, or made a vector of.
struct CompletionRequest {
  std::vector<TokenId> prompt;
  GenerateOptions generate;     ///< `cancelled` is not looked at: see Completions::cancel
  std::optional<int> logprobs;  ///< tell each token's, and those of so many of the most likely
  bool score_prompt = false;    ///< tell those of the prompt too; wants `logprobs`
  bool embed = false;           ///< tell the prompt's embedding; wants max_tokens 0
};

/// What a completion took.
struct CompletionUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;     ///< of the prompt, whose keys and values were there already
  int generated_tokens = 0;  ///< an end-of-text token counts
  double queue_seconds = 0;
  double first_token_seconds = 0;  ///< since it was submitted, as are:
  double seconds = 0;
};

/// News of one completion.
struct CompletionEvent {
  std::size_t index = 0;  ///< of its request
  std::string text;
  std::vector<TokenLogprob> prompt;  ///< with the first event, if asked for; of the first token 0
  std::vector<TokenLogprob> tokens;  ///< if asked for, the end-of-text token included
  std::vector<float> embedding;      ///< with the last event, if asked for (embedding.h)
  std::optional<FinishReason> finish;
  std::string error;  ///< why it failed; then it is over
  CompletionUsage usage;

  bool is_last() const { return finish || !error.empty(); }
};

/// Requests that were submitted together, and what comes of them. Safe from several threads.
class Completions {
 public:
  explicit Completions(std::size_t count) : running_(count) {}

  /// The next event, or nullopt when none came in time or all are over.
  std::optional<CompletionEvent> next(std::chrono::milliseconds timeout);
  /// True once every last event was taken.
  bool finished() const;
  /// Nobody wants the rest: it is dropped at the next step.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  /// For the scheduler.
  void push(CompletionEvent event);

 private:
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<CompletionEvent> events_;
  std::size_t running_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace talpa
