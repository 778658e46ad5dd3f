#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/engine/expert_cache.h"
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
  std::vector<float> selection_bias;  ///< [N], or empty
  ExpertWeights experts;              ///< without the matrices that `mixed` forms
  std::unique_ptr<const MixedExperts> mixed;
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
  ExpertForm expert_form = ExpertForm::kDense;  ///< kDense or kLatent
  std::unique_ptr<ExpertCache> expert_cache;    ///< where layers have mixed experts
  PackedMatrix embed, head;
  std::vector<float> norm;
  std::vector<LayerWeights> layers;

  std::uint64_t bytes() const;
  /// Of all routed experts, latent projections and the bound of the cache included.
  std::uint64_t expert_bytes() const;
  /// See Model::active_bytes; of the embedding one row.
  std::uint64_t active_bytes(int rows) const;
};

/// Packs every matrix as held_type(stored, options.weights). How latent experts are run is chosen
/// and noted in the log with its reason.
PackedDecoder pack_decoder(const ModelFiles& files, const EngineOptions& options, ThreadPool& pool);

}  // namespace talpa
