#pragma once

#include <memory>
#include <vector>

#include "talpa/text/token_model.h"

namespace talpa::text {

/// What a token is, numbered as in GGUF.
enum class TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

/// SentencePiece's byte-pair encoding, where the vocabulary's scores rank the merges: of all
/// neighbours that form a token the best score is merged, left before right. What is no token in
/// the end is written byte by byte.
std::unique_ptr<const TokenModel> make_sentencepiece(std::shared_ptr<const Vocabulary> vocabulary,
                                                     std::vector<float> scores,
                                                     std::vector<TokenType> types, TokenId unk);

}  // namespace talpa::text
