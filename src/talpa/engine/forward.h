#pragma once

#include <vector>

#include "talpa/engine/kv_cache.h"
#include "talpa/engine/packed_decoder.h"
#include "talpa/kernel/row_ops.h"

namespace talpa {

/// Consecutive tokens of one sequence within a step.
struct Piece {
  KvCache::Layers* cache = nullptr;
  std::span<const TokenId> tokens;
  int first_position = 0;
  int num_logits = 0;            ///< of the last so many tokens
  double* hidden_sum = nullptr;  ///< [dim]: takes each token's hidden state behind the last norm
};

/// Runs pieces of sequences through a decoder, a bounded number of rows at a time. Memory is kept
/// between steps; one step at a time.
class Forward {
 public:
  Forward(const PackedDecoder& decoder, ThreadPool& pool);

  /// Writes the logits of the pieces in order to `logits`; cache lengths are left as they are.
  void run(std::span<const Piece> pieces, float* logits, RoutingCounts* routing);

 private:
  void place_rows();
  void embed();
  void attend(const LayerWeights& layer, int index);
  void finish_qkv(const AttentionWeights& weights, std::int64_t row, int layer);
  void feed_forward(const LayerWeights& layer, int index, RoutingCounts* routing);
  void run_routed_experts(const MoeWeights& moe, int layer, const DispatchPlan& plan);
  void run_shared_expert(const MoeWeights& moe);
  void sum_hidden_states();
  void head(float* logits);
  void normalise(const std::vector<float>& weight);
  void add_to_stream(const float* y_TD);

  const PackedDecoder& decoder_;
  const DecoderConfig& config_;
  ThreadPool& pool_;
  std::span<const Piece> pieces_;
  std::int64_t rows_ = 0;
  std::vector<int> piece_of_row_, position_of_row_;
  RotaryTable rotary_;
  Activations x_, attended_;
  ExpertScratch experts_;
  Buffer<float> stream_TD_, normed_TD_, update_TD_, q_, k_, v_, attended_rows_, router_, gate_;
};

}  // namespace talpa
