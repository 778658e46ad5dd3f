#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/base/random.h"
#include "talpa/engine/model.h"

namespace talpa {

struct SamplerOptions {
  double temperature = 0;     ///< 0 = greedy
  int top_k = 0;              ///< 0 = off
  double top_p = 1;           ///< 1 = off
  double min_p = 0;           ///< 0 = off
  double repeat_penalty = 1;  ///< 1 = off; divides positive, multiplies negative logits
  int repeat_last = 64;       ///< tokens that the penalty looks back on
  std::uint64_t seed = 0;

  static constexpr auto fields() {
    using C = SamplerOptions;
    return std::tuple{field("temperature", &C::temperature, "0 = greedy"),
                      field("top_k", &C::top_k, "keep the k best, 0 = off"),
                      field("top_p", &C::top_p, "keep the best that hold this mass, 1 = off"),
                      field("min_p", &C::min_p, "drop below this share of the best, 0 = off"),
                      field("repeat_penalty", &C::repeat_penalty, "1 = off"),
                      field("repeat_last", &C::repeat_last, "tokens the penalty looks back on"),
                      field("seed", &C::seed, "same seed, same text")};
  }
  /// Throws kConfig naming the setting.
  void validate(const std::string& path) const;
  bool operator==(const SamplerOptions&) const = default;
};

/// Chooses tokens: penalty, then top-k, top-p, min-p on the tempered distribution. Greedy takes
/// the highest logit, ties to the lowest id.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

 private:
  SamplerOptions options_;
  Random random_;
};

struct GenerateOptions {
  int max_tokens = 128;
  std::vector<std::string> stop;  ///< text that ends generation; not part of the output
  bool ignore_eos = false;
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
