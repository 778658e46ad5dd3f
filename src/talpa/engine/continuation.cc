#include "talpa/engine/continuation.h"

#include <algorithm>
#include <limits>

#include "talpa/base/error.h"

namespace talpa {

Continuation::Continuation(const LoadedModel& loaded, std::span<const TokenId> prompt,
                           const GenerateOptions& options)
    : history_(prompt.begin(), prompt.end()),
      num_prompt_(prompt.size()),
      max_tokens_(options.max_tokens),
      sampler_(options.sampler),
      filter_(options.stop),
      json_(options.json) {
  if (prompt.empty()) fail(ErrorCode::kUsage, "the prompt is empty: there is nothing to continue");
  if (max_tokens_ < 0)
    fail(ErrorCode::kConfig, "max_tokens: expected a count, got {}", max_tokens_);
  if (prompt.size() > static_cast<std::size_t>(std::numeric_limits<int>::max() - max_tokens_))
    fail(ErrorCode::kConfig, "a prompt of {} tokens and {} more are too many", prompt.size(),
         max_tokens_);
  if (loaded.tokenizer) stream_.emplace(loaded.tokenizer);
  if (!stream_ && !options.stop.empty())
    fail(ErrorCode::kUnsupported, "{}: stop strings need a tokenizer, and the model has none",
         loaded.files.path.string());
  if (!options.ignore_eos) ends_ = loaded.model->config().eos_tokens;
  if (max_tokens_ == 0) finished_ = FinishReason::kLength;
}

TokenId Continuation::sample(std::span<const float> logits) {
  if (!json_) return sampler_.sample(logits, history_, generated().size());
  return sampler_.sample(logits, history_, generated().size(),
                         [this](std::span<float> changed) { mask(changed); });
}

/// Leaves what can go on with the JSON; it ends by its last brace.
void Continuation::mask(std::span<float> logits) const {
  if (!json_->mask(json_text_, logits))
    fail(ErrorCode::kUnsupported, "no token of the vocabulary can go on with the JSON object");
  for (const TokenId end : ends_)
    if (end >= 0 && static_cast<std::size_t>(end) < logits.size())
      logits[static_cast<std::size_t>(end)] = -std::numeric_limits<float>::infinity();
}

std::string Continuation::accept(TokenId token) {
  if (std::count(ends_.begin(), ends_.end(), token) > 0) {
    finished_ = FinishReason::kStop;
    return flush();
  }
  history_.push_back(token);
  if (json_) json_text_.push(json_->bytes(token));
  std::string text = stream_ ? filter_.push(stream_->push(token)) : std::string();
  if (filter_.stopped()) {
    finished_ = FinishReason::kStop;
  } else if (json_ && json_text_.complete()) {
    finished_ = FinishReason::kStop;
    text += flush();
  } else if (generated().size() >= static_cast<std::size_t>(max_tokens_)) {
    finished_ = FinishReason::kLength;
    text += flush();
  }
  return text;
}

std::string Continuation::flush() {
  if (!stream_ || filter_.stopped()) return {};
  std::string text = filter_.push(stream_->finish());
  if (filter_.stopped())
    finished_ = FinishReason::kStop;
  else
    text += filter_.finish();
  return text;
}

}  // namespace talpa
