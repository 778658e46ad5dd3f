#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/base/random.h"
#include "talpa/text/tokenizer.h"

namespace talpa {

/// Added to a token's logit.
struct LogitBias {
  TokenId token = 0;
  double bias = 0;

  static constexpr auto fields() {
    return std::tuple{field("token", &LogitBias::token, "token id"),
                      field("bias", &LogitBias::bias, "added to its logit")};
  }
  bool operator==(const LogitBias&) const = default;
};

struct SamplerOptions {
  double temperature = 0;        ///< 0 = greedy
  int top_k = 0;                 ///< 0 = off
  double top_p = 1;              ///< 1 = off
  double min_p = 0;              ///< 0 = off
  double repeat_penalty = 1;     ///< 1 = off; divides positive, multiplies negative logits
  int repeat_last = 64;          ///< tokens that the penalty looks back on
  double presence_penalty = 0;   ///< subtracted from logits of tokens generated before
  double frequency_penalty = 0;  ///< subtracted as often as they were
  std::vector<LogitBias> logit_bias;
  std::uint64_t seed = 0;

  static constexpr auto fields() {
    using C = SamplerOptions;
    return std::tuple{
        field("temperature", &C::temperature, "0 = greedy"),
        field("top_k", &C::top_k, "keep the k best, 0 = off"),
        field("top_p", &C::top_p, "keep the best that hold this mass, 1 = off"),
        field("min_p", &C::min_p, "drop below this share of the best, 0 = off"),
        field("repeat_penalty", &C::repeat_penalty, "1 = off"),
        field("repeat_last", &C::repeat_last, "tokens the penalty looks back on"),
        field("presence_penalty", &C::presence_penalty, "off tokens generated before, 0 = off"),
        field("frequency_penalty", &C::frequency_penalty, "as often as generated, 0 = off"),
        field("logit_bias", &C::logit_bias, "added to logits"),
        field("seed", &C::seed, "same seed, same text")};
  }
  /// Throws kConfig naming the setting.
  void validate(const std::string& path) const;
  bool operator==(const SamplerOptions&) const = default;
};

/// Sets logits of tokens that must not come to minus infinity.
using LogitMask = std::function<void(std::span<float>)>;

/// Chooses tokens: penalties, biases and a mask, then top-k, top-p, min-p on the tempered
/// distribution. Greedy takes the highest logit, ties to the lowest id.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);
  /// `history` is the prompt and what came after it; the last `num_generated` were generated.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history,
                 std::size_t num_generated = 0, const LogitMask& mask = {});

 private:
  SamplerOptions options_;
  Random random_;
};

}  // namespace talpa
