#pragma once

#include <list>

#include "talpa/engine/scheduler.h"
#include "talpa/engine/sequence.h"

namespace talpa {

/// The sequences that are carried out at once. Not safe from several threads.
class Batch {
 public:
  Batch(const LoadedModel& loaded, const SchedulerOptions& options);

  std::size_t size() const { return sequences_.size(); }
  std::uint64_t kv_bytes() const;
  std::uint64_t prefix_bytes() const { return prefixes_.bytes(); }
  /// A request that cannot begin is told so. Returns the tokens of its prompt that are there.
  int add(PendingCompletion pending);
  /// Drops what was cancelled, then feeds the rest: a token of each that generates, and parts of
  /// prompts in turns.
  void step(RoutingCounts& routing);
  /// Ends all of them with an error, or as cancelled if it is empty.
  void end_all(const std::string& error);

  struct Fed {
    std::uint64_t prompt_tokens = 0, generated_tokens = 0;
  };
  const Fed& last_step() const { return fed_; }

 private:
  void compose();
  void put(Sequence& sequence, std::size_t tokens);
  void distribute(std::vector<float>& logits);
  void run_tasks();

  const LoadedModel& loaded_;
  SchedulerOptions options_;
  std::size_t max_rows_;  ///< of logits in a step
  PrefixStore prefixes_;
  std::list<Sequence> sequences_;
  std::size_t turn_ = 0;  ///< which prompt is read first
  Fed fed_;
  std::size_t tokens_left_ = 0, rows_left_ = 0;
  std::vector<Sequence*> in_step_;
  std::vector<SequenceInput> inputs_;
  std::vector<ScoreTask> tasks_;
};

}  // namespace talpa
