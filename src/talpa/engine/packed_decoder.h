#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/kernel/experts.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/model/weights.h"

namespace talpa {

struct AttentionWeights {
  PackedMatrix q, k, v, o;
  std::vector<float> q_bias, k_bias, v_bias;  ///< empty where there is none
  std::vector<float> q_norm, k_norm;
};

/// Routed experts, and a shared one if the model has it (gate: its sigmoid gate, or empty).
struct MoeWeights {
  PackedMatrix router;
  ExpertWeights experts;
  std::optional<FeedForwardWeights> shared;
  PackedMatrix shared_gate;
};

/// A decoder layer: dense feed-forward or experts.
struct LayerWeights {
  std::vector<float> attn_norm, ffn_norm;
  AttentionWeights attention;
  std::optional<FeedForwardWeights> ffn;
  std::optional<MoeWeights> moe;
};

/// A decoder's weights as the kernels want them. Routers and shared gates are held in F32; a tied
/// head is the embedding itself.
struct PackedDecoder {
  DecoderConfig config;
  PackedMatrix embed, head;
  std::vector<float> norm;
  std::vector<LayerWeights> layers;

  std::uint64_t bytes() const;
  /// Of all routed experts, latent projections included.
  std::uint64_t expert_bytes() const;
  /// Read for one token on average, all experts equally likely; of the embedding one row.
  std::uint64_t active_bytes() const;
};

/// Packs every matrix as held_type(stored, wanted). Experts on mixed bases are multiplied out
/// into dense experts, with a note in the log.
PackedDecoder pack_decoder(const ModelFiles& files, std::optional<DType> wanted, ThreadPool& pool);

}  // namespace talpa
