#include "talpa/engine/json_tokens.h"

#include <array>
#include <limits>

#include "talpa/text/token_bytes.h"

namespace talpa {

namespace {

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
    const std::string bytes = tokenizer.is_special(id) ? std::string() : token_bytes(tokenizer, id);
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
