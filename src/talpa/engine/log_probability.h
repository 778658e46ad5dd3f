#pragma once

#include <span>
#include <utility>
#include <vector>

#include "talpa/text/tokenizer.h"

namespace talpa {

/// Natural logarithm of the probability that a model gave a token, and the most likely ones.
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top;  ///< best first, ties to the lowest id
};

/// Of the distribution that logits stand for, before temperature, penalties and biases. The same
/// number for the token and for its place in `top`. Overwrites the logits. Throws kFormat when
/// they are not finite.
TokenLogprob log_probability(std::span<float> logits, TokenId token, int num_top);

}  // namespace talpa
