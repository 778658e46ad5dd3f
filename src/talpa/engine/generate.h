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
  double prompt_seconds = 0;
  double decode_seconds = 0;
  /// Of decoding, where experts are multiplied out as tokens come.
  std::optional<ExpertCacheStats> decode_experts;
};

/// Continues a prompt. `on_text` receives whole UTF-8 characters as they come, and never text that
/// may still turn out to be part of a stop string.
Generation generate(const LoadedModel& loaded, std::span<const TokenId> prompt,
                    const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text = {});

}  // namespace talpa
