#pragma once

#include <memory>
#include <string>

#include "talpa/base/config.h"

namespace talpa::text {

/// Rewrites text before it is cut.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is valid UTF-8 and stays so.
  virtual void apply(std::string& text) const = 0;
};

/// From the "normalizer" of a tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, Strip,
/// StripAccents, Replace, Prepend, BertNormalizer, Nmt, Precompiled, Sequence. Others throw
/// kUnsupported.
std::unique_ptr<const Normalizer> make_normalizer(const Json& json, const std::string& where);

/// SentencePiece's rules, compiled to a trie and carried in base64.
std::unique_ptr<const Normalizer> make_precompiled(const std::string& base64,
                                                   const std::string& where);

}  // namespace talpa::text
