#pragma once

#include <span>

#include "talpa/engine/json_acceptor.h"
#include "talpa/text/tokenizer.h"

namespace talpa {

/// What each token of a tokenizer adds to a text, to find those that can go on with JSON. Takes a
/// while to make; to be shared.
class JsonTokens {
 public:
  explicit JsonTokens(const Tokenizer& tokenizer);

  /// The bytes that the token adds behind others; none of special tokens.
  std::string_view bytes(TokenId token) const;
  /// Sets the logits of all tokens to minus infinity that cannot follow, or add nothing. False if
  /// none is left.
  bool mask(const JsonAcceptor& text, std::span<float> logits) const;

 private:
  std::string bytes_;               ///< of all tokens, one behind the other
  std::vector<std::size_t> begin_;  ///< of each, and the end
  /// Of each: whole characters that stand in a string as they are.
  std::vector<bool> plain_;
};

}  // namespace talpa
