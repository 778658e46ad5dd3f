#pragma once

#include <vector>

#include "talpa/engine/model.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/model/encoder_files.h"

namespace talpa {

/// y = x weight^T + bias.
struct BiasedMatrix {
  PackedMatrix weight;
  std::vector<float> bias;
};

struct NormWeights {
  std::vector<float> weight, bias;
};

struct EncoderLayerWeights {
  BiasedMatrix q, k, v, o, up, down;
  NormWeights attn_norm, ffn_norm;
};

/// An encoder's weights as the kernels want them.
struct PackedEncoder {
  EncoderConfig config;
  PackedMatrix tokens;
  std::vector<float> places;  ///< [P, n], of positions and of token type 0 together
  NormWeights norm;
  std::vector<EncoderLayerWeights> layers;

  /// Bytes of the weights as held.
  std::uint64_t bytes() const;
};

/// Packs every matrix as held_type(stored, wanted); asked for four bits, the embedding has eight.
PackedEncoder pack_encoder(const EncoderFiles& files, std::optional<DType> wanted,
                           ThreadPool& pool);

}  // namespace talpa
