#include "talpa/engine/sequence.h"

#include <algorithm>

#include "talpa/engine/embedding.h"

namespace talpa {

Sequence::Sequence(const LoadedModel& loaded, PendingCompletion pending, PrefixStore& prefixes)
    : pending_(std::move(pending)),
      prefixes_(prefixes),
      continuation_(loaded, pending_.request.prompt, pending_.request.generate),
      cache_(*loaded.model, continuation_.capacity()),
      vocab_size_(static_cast<std::size_t>(loaded.model->config().vocab_size)) {
  if (pending_.request.score_prompt) prompt_scores_.resize(continuation_.prompt().size());
  if (pending_.request.embed)
    hidden_sum_.resize(static_cast<std::size_t>(loaded.model->config().dim));
  if (!prompt_scores_.empty())  // each token's logits are wanted: all must be fed
    prompt_scores_[0].token = continuation_.prompt()[0];
  else if (hidden_sum_.empty())  // each token's hidden state is wanted: alike
    event_.usage.cached_tokens = prefixes_.load(continuation_.prompt(), cache_);
  fed_ = static_cast<std::size_t>(event_.usage.cached_tokens);
  event_.index = pending_.index;
  event_.usage.prompt_tokens = static_cast<int>(continuation_.prompt().size());
  event_.usage.queue_seconds = pending_.seconds();
}

SequenceInput Sequence::next(std::size_t tokens, std::size_t rows) {
  const std::span<const TokenId> history = continuation_.history();
  if (!reads_prompt()) {
    in_step_ = 1;
    return {&cache_, history.subspan(fed_, 1), LogitsWanted::kLast};
  }
  const std::size_t left = continuation_.prompt().size() - fed_;
  if (!prompt_scores_.empty()) {
    in_step_ = std::min({tokens, rows, left});
    return {&cache_, history.subspan(fed_, in_step_), LogitsWanted::kAll};
  }
  in_step_ = std::min(tokens, left);
  const bool wanted = in_step_ == left && !continuation_.finished();
  return {&cache_, history.subspan(fed_, in_step_),
          wanted ? LogitsWanted::kLast : LogitsWanted::kNone, hidden_sum_};
}

bool Sequence::take(std::span<float> logits, std::vector<ScoreTask>& tasks) {
  const std::size_t first = fed_;
  const bool read_prompt = reads_prompt();
  fed_ += in_step_;
  const bool generates = !reads_prompt() && !continuation_.finished();
  if (generates) choose(logits.last(vocab_size_), tasks);
  if (first < prompt_scores_.size()) score(logits, first, tasks);
  if (!reads_prompt() && continuation_.finished()) {
    event_.finish = continuation_.finished();
    if (!hidden_sum_.empty()) event_.embedding = unit_vector(hidden_sum_);
    event_.usage.seconds = pending_.seconds();
    over_ = true;
  }
  if (hidden_sum_.empty() && (over_ || (read_prompt && !reads_prompt())))
    prefixes_.keep(continuation_.history().first(fed_), cache_);
  return generates;
}

/// Rows behind tokens `first`, ... of the prompt, each of which scores the token after it.
void Sequence::score(std::span<float> rows, std::size_t first, std::vector<ScoreTask>& tasks) {
  const std::span<const TokenId> prompt = continuation_.prompt();
  for (std::size_t i = 0; i < in_step_ && first + i + 1 < prompt.size(); ++i)
    tasks.push_back({rows.subspan(i * vocab_size_, vocab_size_), prompt[first + i + 1],
                     pending_.request.logprobs.value_or(0), &prompt_scores_[first + i + 1]});
}

void Sequence::choose(std::span<float> logits, std::vector<ScoreTask>& tasks) {
  const TokenId token = continuation_.sample(logits);
  event_.text += continuation_.accept(token);
  if (++event_.usage.generated_tokens == 1) event_.usage.first_token_seconds = pending_.seconds();
  if (!pending_.request.logprobs) return;
  event_.tokens.emplace_back();
  tasks.push_back({logits, token, *pending_.request.logprobs, &event_.tokens.back()});
}

void Sequence::tell() {
  const bool scored = !prompt_scores_.empty() && !reads_prompt();
  if (event_.text.empty() && !event_.finish && !scored) return;
  if (scored) event_.prompt = std::move(prompt_scores_);
  CompletionEvent told{.index = event_.index, .usage = event_.usage};
  std::swap(told, event_);
  pending_.completions->push(std::move(told));
}

void Sequence::end(const std::string& error) {
  event_.error = error;
  if (error.empty()) event_.finish = FinishReason::kCancelled;
  event_.usage.seconds = pending_.seconds();
  over_ = true;
  pending_.completions->push(std::move(event_));
}

}  // namespace talpa
