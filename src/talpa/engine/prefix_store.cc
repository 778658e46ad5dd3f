#include "talpa/engine/prefix_store.h"

namespace talpa {

std::vector<TokenId> PrefixStore::chunk_of(std::span<const TokenId> tokens, std::size_t index) {
  const auto chunk = tokens.subspan(index * kKvChunk, kKvChunk);
  return {chunk.begin(), chunk.end()};
}

int PrefixStore::load(std::span<const TokenId> tokens, KvCache& cache) {
  if (max_bytes_ == 0 || tokens.empty()) return 0;
  KvCache::Layers& layers = cache.layers();
  Node* node = &root_;
  int found = 0;
  for (const std::size_t most = (tokens.size() - 1) / kKvChunk; found < static_cast<int>(most);) {
    const auto child = node->children.find(chunk_of(tokens, static_cast<std::size_t>(found)));
    if (child == node->children.end()) break;
    node = child->second.get();
    for (std::size_t i = 0; i < layers.chunks.size(); ++i)
      layers.chunks[i].push_back(node->layers[i]);
    ++found;
  }
  touch(node);
  return layers.length = found * kKvChunk;
}

void PrefixStore::keep(std::span<const TokenId> tokens, KvCache& cache) {
  const KvCache::Layers& layers = cache.layers();
  node_bytes_ = static_cast<std::uint64_t>(layers.shape.chunk_bytes()) * layers.chunks.size();
  Node* node = &root_;
  const auto whole = static_cast<std::size_t>(layers.length / kKvChunk);
  for (std::size_t c = 0; c < whole && (c + 1) * node_bytes_ <= max_bytes_; ++c) {
    const auto chunk = chunk_of(tokens, c);
    auto found = node->children.find(chunk);
    if (found == node->children.end()) {
      auto child = std::make_unique<Node>(Node{.parent = node, .tokens = chunk});
      for (const auto& layer : layers.chunks) child->layers.push_back(layer[c]);
      found = node->children.emplace(chunk, std::move(child)).first;
      found->second->place = by_use_.insert(by_use_.begin(), found->second.get());
      bytes_ += node_bytes_;
    }
    node = found->second.get();
  }
  touch(node);
  make_room();
}

void PrefixStore::touch(Node* node) {
  for (; node != &root_; node = node->parent) by_use_.splice(by_use_.begin(), by_use_, node->place);
}

void PrefixStore::make_room() {
  while (bytes_ > max_bytes_) {
    Node* last = by_use_.back();
    by_use_.pop_back();
    bytes_ -= node_bytes_;
    last->parent->children.erase(std::vector<TokenId>(last->tokens));
  }
}

}  // namespace talpa
