#include "talpa/engine/generate.h"

#include <algorithm>
#include <chrono>

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
            const GenerateOptions& options, const std::function<void(std::string_view)>& on_text)
      : model_(*loaded.model),
        options_(options),
        on_text_(on_text),
        continuation_(loaded, prompt, options),
        cache_(*loaded.model, continuation_.capacity()) {}

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
    if (experts) result_.decode_experts = model_.expert_cache()->since(*experts);
    return std::move(result_);
  }

 private:
  std::vector<float> feed(std::span<const TokenId> tokens, LogitsWanted wanted) {
    const SequenceInput input{&cache_, tokens, wanted};
    return model_.forward({&input, 1});
  }

  /// Logits behind the prompt; none when cancelled, or when no token is wanted.
  std::vector<float> read_prompt() {
    const std::span<const TokenId> prompt = continuation_.prompt();
    for (std::size_t begin = 0; begin < prompt.size(); begin += kPromptPiece) {
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
  KvCache cache_;
  Generation result_;
};

}  // namespace

Generation generate(const LoadedModel& loaded, std::span<const TokenId> prompt,
                    const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text) {
  return Generator(loaded, prompt, options, on_text).run();
}

}  // namespace talpa
