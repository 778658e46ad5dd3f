#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/text/vocabulary.h"

namespace talpa::text {

/// A token that is found in the text before the model sees it.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< not inside a longer word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = false;   ///< looked for in the normalised text
  bool special = false;      ///< control token: left out of decoded text
};

/// A part of a text: an added token, or (id < 0) text between.
struct TokenSpan {
  TokenId id = -1;
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Finds tokens in text, leftmost first, longest of those that begin together.
class AddedTokenFinder {
 public:
  AddedTokenFinder();
  ~AddedTokenFinder();
  AddedTokenFinder(AddedTokenFinder&&) noexcept;

  /// Looks for `written` as `token`; an empty `written` is never found.
  void add(std::string_view written, AddedToken token);
  /// Cuts `text` (valid UTF-8, not empty). Special tokens are passed over unless `special`.
  std::vector<TokenSpan> find(std::string_view text, bool special) const;

 private:
  struct Trie;
  std::unique_ptr<Trie> trie_;
};

}  // namespace talpa::text
