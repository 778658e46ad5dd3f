#include "talpa/engine/generate.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "talpa/base/error.h"
#include "talpa/engine/stop_filter.h"

namespace talpa {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_set(const std::atomic<bool>* flag) {
  return flag != nullptr && flag->load(std::memory_order_relaxed);
}

/// Tokens fed at once, so that a long prompt can be cancelled.
constexpr std::size_t kPromptPiece = 512;

/// One generation: its cache, its sampler, and its text on the way out.
class Generator {
 public:
  Generator(const LoadedModel& loaded, std::span<const TokenId> prompt,
            const GenerateOptions& options, const std::function<void(std::string_view)>& on_text)
      : model_(*loaded.model),
        options_(options),
        on_text_(on_text),
        history_(prompt.begin(), prompt.end()),
        num_prompt_(prompt.size()),
        cache_(*loaded.model, capacity_for(prompt, options)),
        sampler_(options.sampler),
        filter_(options.stop) {
    if (loaded.tokenizer) stream_.emplace(loaded.tokenizer);
    if (!stream_ && !options.stop.empty())
      fail(ErrorCode::kUnsupported, "{}: stop strings need a tokenizer, and the model has none",
           loaded.files.path.string());
  }

  Generation run() {
    const auto start = Clock::now();
    std::vector<float> logits = read_prompt();
    result_.prompt_seconds = seconds_since(start);
    const auto experts = model_.expert_cache();
    const auto decode = Clock::now();
    while (!logits.empty()) {
      const TokenId token = sampler_.sample(logits, history_);
      if (!accept(token)) break;
      logits = feed({&history_.back(), 1}, LogitsWanted::kLast);
    }
    finish();
    result_.decode_seconds = seconds_since(decode);
    if (experts) result_.decode_experts = model_.expert_cache()->since(*experts);
    return std::move(result_);
  }

 private:
  static int capacity_for(std::span<const TokenId> prompt, const GenerateOptions& options) {
    if (prompt.empty())
      fail(ErrorCode::kUsage, "the prompt is empty: there is nothing to continue");
    if (options.max_tokens < 0)
      fail(ErrorCode::kConfig, "max_tokens: expected a count, got {}", options.max_tokens);
    const auto total = prompt.size() + static_cast<std::size_t>(options.max_tokens);
    if (total > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      fail(ErrorCode::kConfig, "a prompt of {} tokens and {} more are too many", prompt.size(),
           options.max_tokens);
    return static_cast<int>(total);
  }

  std::vector<float> feed(std::span<const TokenId> tokens, LogitsWanted wanted) {
    const SequenceInput input{&cache_, tokens, wanted};
    return model_.forward({&input, 1});
  }

  /// Logits behind the prompt; none when cancelled, or when no token is wanted.
  std::vector<float> read_prompt() {
    const std::span<const TokenId> prompt(history_);
    for (std::size_t begin = 0; begin < num_prompt_; begin += kPromptPiece) {
      if (is_set(options_.cancelled)) {
        result_.finish = FinishReason::kCancelled;
        return {};
      }
      const std::size_t count = std::min(kPromptPiece, num_prompt_ - begin);
      const bool last = begin + count == num_prompt_ && options_.max_tokens > 0;
      auto logits =
          feed(prompt.subspan(begin, count), last ? LogitsWanted::kLast : LogitsWanted::kNone);
      if (last) return logits;
    }
    return {};
  }

  /// Takes a sampled token; false when it is the last.
  bool accept(TokenId token) {
    const auto& eos = model_.config().eos_tokens;
    if (!options_.ignore_eos && std::count(eos.begin(), eos.end(), token) > 0) {
      result_.finish = FinishReason::kStop;
      return false;
    }
    history_.push_back(token);
    result_.tokens.push_back(token);
    if (stream_) emit(filter_.push(stream_->push(token)));
    if (filter_.stopped()) {
      result_.finish = FinishReason::kStop;
      return false;
    }
    if (is_set(options_.cancelled)) {
      result_.finish = FinishReason::kCancelled;
      return false;
    }
    return result_.tokens.size() < static_cast<std::size_t>(options_.max_tokens);
  }

  void finish() {
    if (!stream_ || filter_.stopped()) return;
    emit(filter_.push(stream_->finish()));
    if (filter_.stopped()) {
      result_.finish = FinishReason::kStop;
    } else {
      emit(filter_.finish());
    }
  }

  void emit(const std::string& text) {
    if (text.empty()) return;
    result_.text += text;
    if (on_text_) on_text_(text);
  }

  Model& model_;
  const GenerateOptions& options_;
  const std::function<void(std::string_view)>& on_text_;
  std::vector<TokenId> history_;
  std::size_t num_prompt_;
  KvCache cache_;
  Sampler sampler_;
  std::optional<DecodeStream> stream_;
  StopFilter filter_;
  Generation result_;
};

}  // namespace

Generation generate(const LoadedModel& loaded, std::span<const TokenId> prompt,
                    const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text) {
  return Generator(loaded, prompt, options, on_text).run();
}

}  // namespace talpa
