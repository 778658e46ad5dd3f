#pragma once

#include <array>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <vector>

#include "talpa/text/string_map.h"
#include "talpa/text/vocabulary.h"

namespace talpa::text {

/// Ids of words seen before. Thread-safe: shards, so that threads seldom meet; bounded: a full
/// shard starts over.
class WordCache {
 public:
  /// Appends the ids of `word`; false if they are not known.
  bool find(std::string_view word, std::vector<TokenId>& out) const {
    if (word.size() > kMaxBytes) return false;
    const Shard& shard = shard_of(word);
    const std::shared_lock lock(shard.mutex);
    const auto found = shard.words.find(word);
    if (found == shard.words.end()) return false;
    out.insert(out.end(), found->second.begin(), found->second.end());
    return true;
  }

  void insert(std::string_view word, std::span<const TokenId> ids) {
    if (word.size() > kMaxBytes) return;
    Shard& shard = shard_of(word);
    const std::unique_lock lock(shard.mutex);
    if (shard.words.size() >= kMaxWords) shard.words.clear();
    shard.words.try_emplace(std::string(word), ids.begin(), ids.end());
  }

 private:
  static constexpr std::size_t kShards = 64;
  static constexpr std::size_t kMaxWords = 4096;
  static constexpr std::size_t kMaxBytes = 256;

  struct Shard {
    mutable std::shared_mutex mutex;
    StringMap<std::vector<TokenId>> words;
  };
  const Shard& shard_of(std::string_view word) const {
    return shards_[StringHash{}(word) >> 20 & (kShards - 1)];
  }
  Shard& shard_of(std::string_view word) {
    return shards_[StringHash{}(word) >> 20 & (kShards - 1)];
  }

  std::array<Shard, kShards> shards_;
};

}  // namespace talpa::text
