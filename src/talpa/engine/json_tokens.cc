#include "talpa/engine/json_tokens.h"

#include <array>
#include <charconv>
#include <limits>

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

/// What a token adds behind another: the first of a text may lose its space.
std::string added_bytes(const Tokenizer& tokenizer, TokenId id) {
  if (tokenizer.is_special(id)) return {};
  const std::string first = tokenizer.decode({&id, 1}, false);
  if (const auto byte = fallback_byte(tokenizer.token(id), first)) return {*byte};
  const std::array twice = {id, id};
  std::string both = tokenizer.decode(twice, false);
  return both.starts_with(first) ? both.substr(first.size()) : first;
}

/// A text in a string, between two characters.
JsonAcceptor in_string() {
  JsonAcceptor text;
  text.push("{\"");
  return text;
}

bool is_plain(std::string_view bytes) {
  JsonAcceptor text = in_string();
  return !bytes.empty() && bytes.find_first_of("\"\\") == std::string_view::npos &&
         text.push(bytes) && text.between_characters();
}

std::array<bool, 256> first_bytes(const JsonAcceptor& text) {
  std::array<bool, 256> good{};
  for (int byte = 0; byte < 256; ++byte) {
    JsonAcceptor tried = text;
    good[static_cast<std::size_t>(byte)] = tried.push(static_cast<char>(byte)) == JsonStep::kTaken;
  }
  return good;
}

}  // namespace

JsonTokens::JsonTokens(const Tokenizer& tokenizer) {
  begin_.push_back(0);
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    std::string bytes;
    try {
      bytes = added_bytes(tokenizer, id);
    } catch (const Error& error) {  // ids have holes
      if (error.code() != ErrorCode::kNotFound) throw;
    }
    bytes_ += bytes;
    begin_.push_back(bytes_.size());
    plain_.push_back(is_plain(bytes));
  }
}

std::string_view JsonTokens::bytes(TokenId token) const {
  const auto i = static_cast<std::size_t>(token);
  if (token < 0 || i >= plain_.size()) return {};
  return std::string_view(bytes_).substr(begin_[i], begin_[i + 1] - begin_[i]);
}

bool JsonTokens::mask(const JsonAcceptor& text, std::span<float> logits) const {
  const std::array<bool, 256> first = first_bytes(text);
  const bool in_characters = text.between_characters();
  auto follows = [&](std::size_t id) {
    if (id >= plain_.size()) return false;
    if (in_characters && plain_[id]) return true;
    const std::string_view added = bytes(static_cast<TokenId>(id));
    if (added.empty() || !first[static_cast<unsigned char>(added[0])]) return false;
    JsonAcceptor tried = text;
    return tried.push(added);
  };
  bool some = false;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (follows(id))
      some = true;
    else
      logits[id] = -std::numeric_limits<float>::infinity();
  }
  return some;
}

}  // namespace talpa
