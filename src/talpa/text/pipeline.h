#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "talpa/text/added_tokens.h"
#include "talpa/text/decoder.h"
#include "talpa/text/normalizer.h"
#include "talpa/text/post_processor.h"
#include "talpa/text/pre_tokenizer.h"
#include "talpa/text/token_model.h"
#include "talpa/text/tokenizer.h"

namespace talpa::text {

/// What a tokenizer is made of; each part but the model may be absent.
struct PipelineParts {
  std::unique_ptr<const Normalizer> normalizer;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  ModelParts model;
  std::unique_ptr<const Decoder> decoder;
  Frame frame;
  std::vector<AddedToken> added_tokens;  ///< all of them in the vocabulary
};

/// The tokenizer: added tokens are cut out, the rest is normalised, cut and given to the model,
/// and the frame is put around.
class Pipeline : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts);

  std::vector<TokenId> encode(std::string_view text, bool add_special,
                              bool parse_special) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override;
  int vocab_size() const override { return parts_.model.vocabulary->size(); }
  const std::string& token(TokenId id) const override { return parts_.model.vocabulary->token(id); }
  std::optional<TokenId> id_of(std::string_view token) const override {
    return parts_.model.vocabulary->find(token);
  }
  bool is_special(TokenId id) const override;

 private:
  void encode_raw(Piece piece, bool parse_special, std::vector<TokenId>& out) const;
  void encode_normalized(Piece piece, std::vector<TokenId>& out) const;

  PipelineParts parts_;
  AddedTokenFinder raw_tokens_;
  AddedTokenFinder normalized_tokens_;
  std::vector<bool> special_;
  std::unordered_map<TokenId, std::string> normalized_contents_;  ///< decoded instead of the token
};

}  // namespace talpa::text
