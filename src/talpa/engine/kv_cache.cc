#include "talpa/engine/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "talpa/base/error.h"

namespace talpa {

KvCache::KvCache(const Model& model, int capacity)
    : KvCache(model.config(), capacity, model.kv_type()) {}

KvCache::KvCache(const DecoderConfig& config, int capacity, DType type)
    : layers_(std::make_unique<Layers>()) {
  if (capacity <= 0)
    fail(ErrorCode::kConfig, "a key-value cache needs a positive capacity, got {}", capacity);
  if (type != DType::kF32 && type != DType::kF16)
    fail(ErrorCode::kConfig, "keys and values are held as f32 or f16, not {}", name_of(type));
  const AttentionConfig& a = config.attention;
  layers_->shape = {a.num_heads, a.num_kv_heads, a.head_dim, type};
  layers_->capacity = capacity;
  layers_->chunks.resize(static_cast<std::size_t>(config.num_layers));
}

KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;

int KvCache::length() const { return layers_->length; }
int KvCache::capacity() const { return layers_->capacity; }

std::uint64_t KvCache::bytes() const {
  std::uint64_t chunks = 0;
  for (const auto& layer : layers_->chunks) chunks += layer.size();
  return chunks * static_cast<std::uint64_t>(layers_->shape.chunk_bytes());
}

void KvCache::truncate(int length) {
  if (length < 0 || length > layers_->length)
    fail(ErrorCode::kUsage, "cannot truncate a cache of {} tokens to {}", layers_->length, length);
  layers_->length = length;
  const auto keep = static_cast<std::size_t>((length + kKvChunk - 1) / kKvChunk);
  const auto bytes = static_cast<std::size_t>(layers_->shape.chunk_bytes());
  for (auto& layer : layers_->chunks) {
    while (layer.size() > keep) layer.pop_back();
    if (length % kKvChunk == 0 || !layer.back().is_shared()) continue;
    KvChunk own(bytes);  // it is to be written again
    std::memcpy(own.data(), layer.back().data(), bytes);
    layer.back() = std::move(own);
  }
}

void KvCache::Layers::reserve(int wanted) {
  const auto count = static_cast<std::size_t>((wanted + kKvChunk - 1) / kKvChunk);
  const auto bytes = static_cast<std::size_t>(shape.chunk_bytes());
  for (auto& layer : chunks)
    while (layer.size() < count) layer.emplace_back(bytes);
}

}  // namespace talpa
