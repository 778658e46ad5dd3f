#include "talpa/text/token_bytes.h"

#include <array>
#include <charconv>
#include <optional>

#include "talpa/base/error.h"

namespace talpa {

namespace {

/// In a text whose tokens stand for single bytes, "<0xE2>", decoding one alone would not tell it.
std::optional<char> fallback_byte(const std::string& token, const std::string& decoded) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>' || decoded == token)
    return std::nullopt;
  unsigned char byte = 0;
  const char* end = token.data() + 5;
  const auto [parsed, error] = std::from_chars(token.data() + 3, end, byte, 16);
  if (error != std::errc() || parsed != end) return std::nullopt;
  return static_cast<char>(byte);
}

std::string bytes_of(const Tokenizer& tokenizer, TokenId id) {
  const std::string first = tokenizer.decode({&id, 1}, false);
  if (tokenizer.is_special(id)) return first;
  if (const auto byte = fallback_byte(tokenizer.token(id), first)) return {*byte};
  const std::array twice = {id, id};
  const std::string both = tokenizer.decode(twice, false);
  return both.starts_with(first) ? both.substr(first.size()) : first;
}

}  // namespace

std::string token_bytes(const Tokenizer& tokenizer, TokenId id) {
  try {
    return bytes_of(tokenizer, id);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return {};
    throw;
  }
}

}  // namespace talpa
