#pragma once

#include <optional>

#include "talpa/engine/generate.h"
#include "talpa/engine/stop_filter.h"

namespace talpa {

/// What is generated behind a prompt: the tokens, their text on the way out, and when to end.
class Continuation {
 public:
  /// Throws kUsage for an empty prompt, kConfig for options out of range, kUnsupported for stop
  /// strings without a tokenizer.
  Continuation(const LoadedModel& loaded, std::span<const TokenId> prompt,
               const GenerateOptions& options);

  /// The prompt and what came behind it, without an end-of-text token.
  std::span<const TokenId> history() const { return history_; }
  std::span<const TokenId> prompt() const { return history().first(num_prompt_); }
  std::span<const TokenId> generated() const { return history().subspan(num_prompt_); }
  /// Tokens that prompt and continuation take at most.
  int capacity() const { return static_cast<int>(num_prompt_) + max_tokens_; }

  /// A token for the logits behind the history.
  TokenId sample(std::span<const float> logits);
  /// Takes it and returns the text that is certain now: whole characters, and nothing that may
  /// still become a stop string; all that is left if it is the last.
  std::string accept(TokenId token);
  /// Why no more is wanted, once that is so.
  std::optional<FinishReason> finished() const { return finished_; }

 private:
  void mask(std::span<float> logits) const;
  std::string flush();

  std::vector<TokenId> history_;
  std::size_t num_prompt_;
  int max_tokens_;
  std::vector<TokenId> ends_;  ///< end-of-text tokens
  Sampler sampler_;
  std::optional<DecodeStream> stream_;
  StopFilter filter_;
  std::shared_ptr<const JsonTokens> json_;
  JsonAcceptor json_text_;  ///< what was generated, if it must be JSON
  std::optional<FinishReason> finished_;
};

}  // namespace talpa
