#include "talpa/text/vocabulary.h"

#include "talpa/base/error.h"

namespace talpa::text {

void Vocabulary::add(std::string token, std::int64_t id, const std::string& where) {
  if (id < 0 || id >= kMaxVocabulary)
    fail(ErrorCode::kFormat, "{}: id {} of token \"{}\" is outside 0 to {}", where, id, token,
         kMaxVocabulary - 1);
  const auto index = static_cast<std::size_t>(id);
  if (index >= tokens_.size()) {
    tokens_.resize(index + 1);
    known_.resize(index + 1);
  }
  if (known_[index])
    fail(ErrorCode::kFormat, "{}: id {} stands for \"{}\" and for \"{}\"", where, id,
         tokens_[index], token);
  known_[index] = true;
  ids_.insert_or_assign(token, static_cast<TokenId>(id));
  tokens_[index] = std::move(token);
}

const std::string& Vocabulary::token(TokenId id) const {
  if (!contains(id))
    fail(ErrorCode::kNotFound, "token id {} is not in the vocabulary (ids 0 to {})", id,
         size() - 1);
  return tokens_[static_cast<std::size_t>(id)];
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace talpa::text
