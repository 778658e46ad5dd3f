#pragma once

#include <list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "talpa/engine/kv_cache.h"

namespace talpa {

/// Keys and values of beginnings of texts, in whole chunks, for sequences that begin the same. They
/// are those that the sequence would compute itself, to the last bit. What was used longest ago is
/// given up beyond a bound of bytes; what running sequences share stays with them. Not safe from
/// several threads.
class PrefixStore {
 public:
  explicit PrefixStore(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

  /// Gives an empty cache the longest beginning of `tokens` that is held; returns its length, less
  /// than that of `tokens`, since something must be fed.
  int load(std::span<const TokenId> tokens, KvCache& cache);
  /// Keeps the whole chunks of a cache that was fed `tokens`.
  void keep(std::span<const TokenId> tokens, KvCache& cache);
  std::uint64_t bytes() const { return bytes_; }

 private:
  /// kKvChunk tokens behind those of its parents.
  struct Node {
    Node* parent = nullptr;
    std::vector<TokenId> tokens;
    std::vector<KvChunk> layers;
    std::map<std::vector<TokenId>, std::unique_ptr<Node>> children;
    std::list<Node*>::iterator place;
  };

  static std::vector<TokenId> chunk_of(std::span<const TokenId> tokens, std::size_t index);
  /// A node and its parents are the latest used, parents before children.
  void touch(Node* node);
  void make_room();

  std::uint64_t max_bytes_, bytes_ = 0, node_bytes_ = 0;
  Node root_;
  std::list<Node*> by_use_;  ///< latest first; so the last has no children
};

}  // namespace talpa
