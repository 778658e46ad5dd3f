#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "talpa/engine/json_tokens.h"
#include "talpa/engine/model.h"
#include "talpa/engine/sampler.h"

namespace talpa {

struct GenerateOptions {
  int max_tokens = 128;
  std::vector<std::string> stop;  ///< text that ends generation; not part of the output
  bool ignore_eos = false;
  /// If set, of the model's tokenizer: the text is one JSON object, or the beginning of one where
  /// `max_tokens` or a stop string cut it. It ends with the object.
  std::shared_ptr<const JsonTokens> json;
  SamplerOptions sampler;
  const std::atomic<bool>* cancelled = nullptr;
};

enum class FinishReason : std::uint8_t { kStop, kLength, kCancelled };

struct Generation {
  std::vector<TokenId> tokens;
  std::string text;
  FinishReason finish = FinishReason::kLength;
  int kept_tokens = 0;  ///< of the prompt, that were read before
  double prompt_seconds = 0;
  double decode_seconds = 0;
  /// Of decoding, where experts are multiplied out as tokens come.
  std::optional<ExpertCacheStats> decode_experts;
};

/// Keys and values that outlive a generation, so that a prompt which begins like the last one and
/// its continuation, as every turn of a conversation does, is read from where they part.
struct KeptContext {
  KvCache cache;
  std::vector<TokenId> tokens;  ///< those in the cache

  /// For prompts and continuations of `capacity` tokens together.
  KeptContext(const Model& model, int capacity) : cache(model, capacity) {}
};

/// Continues a prompt. `on_text` receives whole UTF-8 characters as they come, and never text that
/// may still turn out to be part of a stop string. With `kept`, throws kShape where prompt and
/// max_tokens exceed its capacity.
Generation generate(const LoadedModel& loaded, std::span<const TokenId> prompt,
                    const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text = {},
                    KeptContext* kept = nullptr);

}  // namespace talpa
