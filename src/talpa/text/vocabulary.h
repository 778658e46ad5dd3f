#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/text/tokenizer.h"

namespace talpa::text {

/// Ids are below this; a file that says otherwise is broken.
inline constexpr std::int64_t kMaxVocabulary = 1 << 21;

/// Tokens by id and ids by token. Ids may have holes.
class Vocabulary {
 public:
  /// Makes room for `count` tokens.
  void reserve(std::size_t count);
  /// Gives `token` the id `id`. A token seen before keeps both ids and is found by the new one.
  /// Throws kFormat naming `where` if the id is out of bounds or taken by another token.
  void add(std::string token, std::int64_t id, const std::string& where);
  /// Adds a token that gets the next id.
  void append(std::string token, const std::string& where) { add(std::move(token), size(), where); }

  /// Largest id plus one.
  int size() const { return static_cast<int>(tokens_.size()); }
  bool contains(TokenId id) const {
    return id >= 0 && id < size() && known_[static_cast<std::size_t>(id)];
  }
  /// Throws kNotFound if there is no such id.
  const std::string& token(TokenId id) const;
  std::optional<TokenId> find(std::string_view token) const;

 private:
  /// Of an open hash table: loading a tokenizer looks up several hundred thousand strings.
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = -1;  ///< -1 = empty
  };
  /// Where `token` is, or where it would be put.
  std::size_t slot_of(std::string_view token, std::uint32_t hash) const;
  void resize_slots(std::size_t count);

  std::vector<std::string> tokens_;
  std::vector<bool> known_;
  std::vector<Slot> slots_;  ///< a power of two, at most half of them taken
  std::size_t num_taken_ = 0;
};

}  // namespace talpa::text
