#include "talpa/serve/served_text.h"

#include <algorithm>

#include "talpa/serve/api_error.h"

namespace talpa::serve {

namespace {

/// Bytes that the context may stand for: twice what its longest tokens take, for normalizers that
/// shorten a text.
std::size_t most_text(const Tokenizer& tokenizer, int context) {
  std::size_t longest = 1;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    longest = std::max(longest, tokenizer.token(id).size());
  return 2 * longest * static_cast<std::size_t>(context);
}

}  // namespace

ServedText::ServedText(const Tokenizer& tokenizer_, int context_)
    : tokenizer(tokenizer_), context(context_), max_bytes(most_text(tokenizer_, context_)) {}

void ServedText::check(std::size_t bytes) const {
  if (bytes <= max_bytes) return;
  ApiError error(400, fmt::format("a text of {} bytes is longer than the context of {} tokens",
                                  bytes, context));
  error.code = "context_length_exceeded";
  throw error;
}

}  // namespace talpa::serve
