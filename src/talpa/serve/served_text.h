#pragma once

#include "talpa/text/tokenizer.h"

namespace talpa::serve {

/// A tokenizer behind the endpoints, and how long a text may be.
struct ServedText {
  /// The tokenizer outlives it.
  ServedText(const Tokenizer& tokenizer, int context);

  /// Throws ApiError (context_length_exceeded) for text that is too long whatever its tokens are:
  /// to find them takes time.
  void check(std::size_t bytes) const;

  const Tokenizer& tokenizer;
  int context;  ///< tokens
  std::size_t max_bytes;
};

}  // namespace talpa::serve
