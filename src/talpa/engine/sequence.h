#pragma once

#include <chrono>
#include <memory>

#include "talpa/engine/completions.h"
#include "talpa/engine/continuation.h"
#include "talpa/engine/prefix_store.h"

namespace talpa {

/// A request that waits for its turn.
struct PendingCompletion {
  CompletionRequest request;
  std::shared_ptr<Completions> completions;
  std::size_t index = 0;
  std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - submitted).count();
  }
};

/// A row of logits whose log-probabilities are wanted.
struct ScoreTask {
  std::span<float> logits;
  TokenId token = 0;
  int num_top = 0;
  TokenLogprob* result = nullptr;
};

/// A request that is being carried out: what it feeds next, and what it makes of the logits.
class Sequence {
 public:
  /// Throws as Continuation.
  Sequence(const LoadedModel& loaded, PendingCompletion pending, PrefixStore& prefixes);

  bool cancelled() const { return pending_.completions->cancelled(); }
  /// It still reads its prompt.
  bool reads_prompt() const { return fed_ < continuation_.prompt().size(); }
  bool over() const { return over_; }
  std::uint64_t kv_bytes() const { return cache_.bytes(); }
  /// Tokens of its prompt that it need not read.
  int cached_tokens() const { return event_.usage.cached_tokens; }

  /// Its part of a step, of at least one token: at most `tokens`, with logits at most `rows`.
  SequenceInput next(std::size_t tokens, std::size_t rows);
  /// Takes the logits of that part; what is to be scored goes to `tasks`, to be done before tell().
  /// True if a token was generated.
  bool take(std::span<float> logits, std::vector<ScoreTask>& tasks);
  /// Tells what is new.
  void tell();
  /// Ends it, because of an error or, if there is none, because it was cancelled.
  void end(const std::string& error);

 private:
  void score(std::span<float> rows, std::size_t first, std::vector<ScoreTask>& tasks);
  void choose(std::span<float> logits, std::vector<ScoreTask>& tasks);

  PendingCompletion pending_;
  PrefixStore& prefixes_;
  Continuation continuation_;
  KvCache cache_;
  std::size_t vocab_size_;
  std::size_t fed_ = 0;      ///< tokens in the cache
  std::size_t in_step_ = 0;  ///< tokens of the part that is under way
  std::vector<TokenLogprob> prompt_scores_;
  std::vector<double> hidden_sum_;  ///< of a prompt to be embedded
  CompletionEvent event_;
  bool over_ = false;
};

}  // namespace talpa
