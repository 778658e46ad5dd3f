#pragma once

#include <string>

#include "talpa/text/tokenizer.h"

namespace talpa {

/// The bytes that a token adds to a text behind another token: with the space that the first of a
/// text may lose, and the byte itself of a fallback token such as "<0xE2>". Special tokens give
/// their text; ids that are no token, of which padded vocabularies have some, give nothing.
std::string token_bytes(const Tokenizer& tokenizer, TokenId id);

}  // namespace talpa
