#include "talpa/engine/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "talpa/base/error.h"
#include "talpa/engine/continuation.h"

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

/// One generation: its cache, its continuation, and its text on the way out.
class Generator {
 public:
  Generator(const LoadedModel& loaded, std::span<const TokenId> prompt,
            const GenerateOptions& options, const std::function<void(std::string_view)>& on_text,
            KeptContext* kept)
      : model_(*loaded.model),
        options_(options),
        on_text_(on_text),
        continuation_(loaded, prompt, options),
        kept_(kept) {
    if (kept == nullptr) {
      cache_.emplace(*loaded.model, continuation_.capacity());
      return;
    }
    if (continuation_.capacity() > kept->cache.capacity())
      fail(ErrorCode::kShape, "{} tokens of prompt and continuation exceed a context of {}",
           continuation_.capacity(), kept->cache.capacity());
    result_.kept_tokens = rewind(*kept);
  }

  Generation run() {
    const auto start = Clock::now();
    std::vector<float> logits = read_prompt();
    result_.prompt_seconds = seconds_since(start);
    const auto experts = model_.expert_cache();
    const auto decode = Clock::now();
    while (!logits.empty()) {
      emit(continuation_.accept(continuation_.sample(logits)));
      if (continuation_.finished() || is_set(options_.cancelled)) break;
      logits = feed(continuation_.history().last(1), LogitsWanted::kLast);
    }
    result_.finish = continuation_.finished().value_or(FinishReason::kCancelled);
    const auto generated = continuation_.generated();
    result_.tokens.assign(generated.begin(), generated.end());
    result_.decode_seconds = seconds_since(decode);
    if (kept_ != nullptr) {
      const auto fed = continuation_.history().first(static_cast<std::size_t>(cache().length()));
      kept_->tokens.assign(fed.begin(), fed.end());
    }
    if (experts) result_.decode_experts = model_.expert_cache()->since(*experts);
    return std::move(result_);
  }

 private:
  KvCache& cache() { return kept_ != nullptr ? kept_->cache : *cache_; }

  /// Forgets what the prompt does not begin with, and its last token, which gives the logits.
  int rewind(KeptContext& kept) const {
    const std::span<const TokenId> prompt = continuation_.prompt();
    const std::size_t most = std::min(kept.tokens.size(), prompt.size() - 1);
    const auto [end, unused] = std::mismatch(
        prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(most), kept.tokens.begin());
    const auto length = static_cast<int>(end - prompt.begin());
    kept.cache.truncate(length);
    kept.tokens.resize(static_cast<std::size_t>(length));
    return length;
  }

  std::vector<float> feed(std::span<const TokenId> tokens, LogitsWanted wanted) {
    const SequenceInput input{&cache(), tokens, wanted};
    return model_.forward({&input, 1});
  }

  /// Logits behind the prompt; none when cancelled, or when no token is wanted.
  std::vector<float> read_prompt() {
    const std::span<const TokenId> prompt = continuation_.prompt();
    const auto kept = static_cast<std::size_t>(result_.kept_tokens);
    for (std::size_t begin = kept; begin < prompt.size(); begin += kPromptPiece) {
      if (is_set(options_.cancelled)) return {};
      const std::size_t count = std::min(kPromptPiece, prompt.size() - begin);
      const bool last = begin + count == prompt.size() && !continuation_.finished();
      auto logits =
          feed(prompt.subspan(begin, count), last ? LogitsWanted::kLast : LogitsWanted::kNone);
      if (last) return logits;
    }
    return {};
  }

  void emit(const std::string& text) {
    if (text.empty()) return;
    result_.text += text;
    if (on_text_) on_text_(text);
  }

  Model& model_;
  const GenerateOptions& options_;
  const std::function<void(std::string_view)>& on_text_;
  Continuation continuation_;
  std::optional<KvCache> cache_;
  KeptContext* kept_;
  Generation result_;
};

}  // namespace

Generation generate(const LoadedModel& loaded, std::span<const TokenId> prompt,
                    const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text, KeptContext* kept) {
  return Generator(loaded, prompt, options, on_text, kept).run();
}

}  // namespace talpa
