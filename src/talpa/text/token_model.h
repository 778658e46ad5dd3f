#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/text/component.h"
#include "talpa/text/vocabulary.h"

namespace talpa::text {

/// Turns one piece of pre-tokenised text into ids. Thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of `piece` (valid UTF-8) to `out`.
  virtual void tokenize(std::string_view piece, std::vector<TokenId>& out) const = 0;
};

/// A model and the vocabulary it draws on.
struct ModelParts {
  std::shared_ptr<Vocabulary> vocabulary;
  std::unique_ptr<const TokenModel> model;
};

/// From the "model" of a tokenizer.json: BPE, WordPiece, Unigram. Others throw kUnsupported.
ModelParts make_model(const Json& json, const std::string& where);

ModelParts make_bpe(Component& component);
ModelParts make_word_piece(Component& component);
ModelParts make_unigram(Component& component);

/// Reads {"token": id, ...}; throws kFormat for ids that are taken twice or absurdly large.
std::shared_ptr<Vocabulary> read_vocabulary(Component& component, const char* key);

}  // namespace talpa::text
