#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/base/config.h"

namespace talpa::text {

/// A piece of text on its way to the model.
struct Piece {
  std::string text;
  bool at_start = false;  ///< begins where the whole input begins
};

/// Cuts text into the pieces that the model sees one at a time, and rewrites them.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the pieces of `piece` (valid UTF-8, not empty) to `out`.
  virtual void split(Piece piece, std::vector<Piece>& out) const = 0;
};

/// From the "pre_tokenizer" of a tokenizer.json: ByteLevel, Whitespace, WhitespaceSplit,
/// BertPreTokenizer, Metaspace, Split, Digits, Punctuation, Sequence. Others throw kUnsupported.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where);

}  // namespace talpa::text
