#pragma once

#include <memory>

#include "talpa/base/error.h"
#include "talpa/engine/completions.h"

namespace talpa {

struct SchedulerOptions {
  int parallel = 8;  ///< sequences that are carried out at once
  int context = 0;   ///< tokens of prompt and answer together; 0 = what the model was trained for
  int queue = 256;   ///< requests that may wait
  int step_tokens = 256;  ///< of a step at most: long prompts are read in parts, between which the
                          ///< others go on
  std::size_t logit_bytes = std::size_t{64} << 20;  ///< of a step at most, of scored prompts

  /// Of beginnings of texts whose keys and values are kept for others that begin so; 0 = none.
  std::uint64_t prefix_bytes = std::uint64_t{256} << 20;

  /// Throws kConfig naming the setting.
  void validate() const;
};

struct SchedulerStats {
  std::size_t waiting = 0, running = 0;
  std::uint64_t kv_bytes = 0;      ///< of what runs; what is shared counts with each
  std::uint64_t prefix_bytes = 0;  ///< kept for others
  std::uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0;
  std::uint64_t cached_tokens = 0;  ///< of prompts, whose keys and values were there already
  double busy_seconds = 0;          ///< of steps
  RoutingCounts routing;            ///< since the start
};

/// The queue is full: to be tried again later.
struct QueueFull : Error {
  using Error::Error;
};
/// No more is taken: the scheduler is about to end.
struct Draining : Error {
  using Error::Error;
};

/// Runs many completions on one model, on a thread of its own. Every step feeds a token of each
/// sequence that is generating and parts of prompts, in turns; requests join and leave between
/// steps. What comes of a request does not depend on the others. Those that were submitted
/// together wait in one line, and lines take turns, so that a long list does not keep others out.
class Scheduler {
 public:
  /// The model must not be fed by others meanwhile.
  Scheduler(const LoadedModel& loaded, const SchedulerOptions& options);
  /// stop()
  ~Scheduler();

  /// Tokens of prompt and answer together.
  int context() const;
  /// Takes all of them or none. Throws QueueFull, Draining, and kUsage or kConfig for a request
  /// that cannot be carried out: empty, longer than the context, token ids out of range; and for
  /// more of them than the queue holds.
  std::shared_ptr<Completions> submit(std::vector<CompletionRequest> requests);
  /// Takes no more from now on; what was taken is finished.
  void drain();
  bool draining() const;
  /// Ends what waits and runs, as cancelled.
  void stop();
  /// Nothing waits or runs.
  bool idle() const;
  SchedulerStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace talpa
