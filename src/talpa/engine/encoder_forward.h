#pragma once

#include <span>
#include <vector>

#include "talpa/engine/packed_encoder.h"
#include "talpa/kernel/attention.h"
#include "talpa/kernel/matmul.h"

namespace talpa {

/// Runs texts through an encoder, one behind the other without padding. Memory is kept between
/// calls; one call at a time.
class EncoderForward {
 public:
  EncoderForward(const PackedEncoder& encoder, ThreadPool& pool);

  /// Hidden states behind the last layer, [tokens of all texts, dim], until the next call.
  const float* run(std::span<const std::vector<TokenId>> texts);

 private:
  void embed(std::span<const std::vector<TokenId>> texts);
  void multiply(const BiasedMatrix& matrix, Buffer<float>& y);
  void attend(const EncoderLayerWeights& layer, std::span<const std::vector<TokenId>> texts);
  void store_keys_and_values(std::span<const std::vector<TokenId>> texts);
  void feed_forward(const EncoderLayerWeights& layer);
  void add_and_normalise(const Buffer<float>& update, const std::vector<float>& bias,
                         const NormWeights& norm);

  const PackedEncoder& encoder_;
  ThreadPool& pool_;
  AttentionShape shape_;
  std::int64_t rows_ = 0;
  Activations x_, inner_;
  std::vector<KvChunk> chunks_;
  Buffer<float> stream_, q_, k_, v_, attended_, hidden_, update_;
};

}  // namespace talpa
