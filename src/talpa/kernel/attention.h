#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/format/dtype.h"
#include "talpa/kernel/buffer.h"

namespace talpa {

/// Tokens of a chunk of the key-value cache.
constexpr int kKvChunk = 128;

/// Keys and values of a layer's kKvChunk tokens; copies share them. Zeroed at first: weights of
/// unseen positions are 0, and 0 times what lies there must be 0.
class KvChunk {
 public:
  explicit KvChunk(std::size_t bytes) : memory_(std::make_shared<Buffer<std::byte>>(bytes)) {
    std::memset(data(), 0, bytes);
  }
  std::byte* data() const { return memory_->data(); }
  bool is_shared() const { return memory_.use_count() > 1; }

 private:
  std::shared_ptr<Buffer<std::byte>> memory_;
};

/// Sizes of one layer's attention: H query heads, J key-value heads of width h; each key-value
/// head serves H / J query heads.
struct AttentionShape {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  DType kv_type = DType::kF32;  ///< keys and values are held as F32 or F16

  int group() const { return num_heads / num_kv_heads; }
  /// Bytes of a chunk of one layer: keys and values of all heads, head_dim padded to 16.
  std::int64_t chunk_bytes() const;
};

/// Writes the key and value (each [J*h]) of the token at `index` (0..127) of a chunk. Keys lie as
/// panels of 16 tokens, values as panels of 16 columns, so that both products of attention are
/// panel products. As F16 they are rounded, and limited to its largest number.
void store_key_value(const AttentionShape& shape, const float* key, const float* value, int index,
                     std::byte* chunk);

/// Attention of one sequence's new tokens over its whole cache, theirs included:
///   y_T(Hh) = softmax(q k^T / sqrt(h)) v, token i sees positions 0 .. first_position + i, or all
///   of them if it is not causal.
struct AttentionTask {
  const float* q = nullptr;  ///< [T, H*h], rotated
  float* y = nullptr;        ///< [T, H*h]
  int num_tokens = 0;
  int first_position = 0;
  std::span<const KvChunk> chunks;  ///< of this layer
  bool is_causal = true;
};

/// Online softmax over chunks at fixed positions: a token's result depends on nothing but its own
/// sequence, however tokens are batched.
void attention(const AttentionShape& shape, std::span<const AttentionTask> tasks, ThreadPool& pool);

}  // namespace talpa
