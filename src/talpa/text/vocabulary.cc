#include "talpa/text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "talpa/base/error.h"

namespace talpa::text {

namespace {

constexpr std::size_t kLeastSlots = 64;

std::uint32_t hash_of(std::string_view token) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(token));
}

}  // namespace

void Vocabulary::reserve(std::size_t count) {
  tokens_.reserve(count);
  known_.reserve(count);
  if (2 * count > slots_.size()) resize_slots(std::bit_ceil(2 * count));
}

void Vocabulary::resize_slots(std::size_t count) {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(count));
  for (const Slot& slot : old)
    if (slot.id >= 0) slots_[slot_of(tokens_[static_cast<std::size_t>(slot.id)], slot.hash)] = slot;
}

std::size_t Vocabulary::slot_of(std::string_view token, std::uint32_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id < 0 || (slot.hash == hash && tokens_[static_cast<std::size_t>(slot.id)] == token))
      return i;
  }
}

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
  if (2 * (num_taken_ + 1) > slots_.size()) resize_slots(std::max(kLeastSlots, 2 * slots_.size()));
  const std::uint32_t hash = hash_of(token);
  Slot& slot = slots_[slot_of(token, hash)];
  if (slot.id < 0) ++num_taken_;
  slot = {hash, static_cast<TokenId>(id)};
  tokens_[index] = std::move(token);
}

const std::string& Vocabulary::token(TokenId id) const {
  if (!contains(id))
    fail(ErrorCode::kNotFound, "token id {} is not in the vocabulary (ids 0 to {})", id,
         size() - 1);
  return tokens_[static_cast<std::size_t>(id)];
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const Slot& slot = slots_[slot_of(token, hash_of(token))];
  return slot.id < 0 ? std::nullopt : std::optional(slot.id);
}

}  // namespace talpa::text
