#include "talpa/engine/kv_cache.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa {

KvCache::KvCache(const DecoderConfig& config, int capacity) : layers_(std::make_unique<Layers>()) {
  if (capacity <= 0)
    fail(ErrorCode::kConfig, "a key-value cache needs a positive capacity, got {}", capacity);
  const AttentionConfig& a = config.attention;
  layers_->shape = {a.num_heads, a.num_kv_heads, a.head_dim};
  layers_->capacity = capacity;
  layers_->chunks.resize(static_cast<std::size_t>(config.num_layers));
}

KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;

int KvCache::length() const { return layers_->length; }
int KvCache::capacity() const { return layers_->capacity; }

void KvCache::truncate(int length) {
  if (length < 0 || length > layers_->length)
    fail(ErrorCode::kUsage, "cannot truncate a cache of {} tokens to {}", layers_->length, length);
  layers_->length = length;
  const auto keep = static_cast<std::size_t>((length + kKvChunk - 1) / kKvChunk);
  for (auto& layer : layers_->chunks) layer.resize(std::min(layer.size(), keep));
}

void KvCache::Layers::reserve(int wanted) {
  const auto count = static_cast<std::size_t>((wanted + kKvChunk - 1) / kKvChunk);
  const auto floats = static_cast<std::size_t>(shape.chunk_floats());
  for (auto& layer : chunks)
    while (layer.size() < count) {
      // Zeroed: weights of unseen positions are 0, and 0 times what lies there must be 0.
      Buffer<float> chunk(floats);
      std::fill_n(chunk.data(), floats, 0.0f);
      layer.push_back(std::move(chunk));
    }
}

}  // namespace talpa
