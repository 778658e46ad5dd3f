#include <algorithm>

#include "talpa/engine/packed_decoder.h"
#include "talpa/model/accounting.h"

namespace talpa {

namespace {

std::uint64_t bytes_of_ffn(const FeedForwardWeights& ffn) {
  return ffn.gate.bytes() + ffn.up.bytes() + ffn.down.bytes();
}

/// Bytes of a layer that every token reads, whatever its experts.
std::uint64_t common_bytes(const LayerWeights& layer) {
  const AttentionWeights& a = layer.attention;
  std::uint64_t total = a.q.bytes() + a.k.bytes() + a.v.bytes() + a.o.bytes();
  for (const auto* v :
       {&layer.attn_norm, &layer.ffn_norm, &a.q_bias, &a.k_bias, &a.v_bias, &a.q_norm, &a.k_norm})
    total += v->size() * sizeof(float);
  if (layer.ffn) total += bytes_of_ffn(*layer.ffn);
  if (layer.moe) {
    total += layer.moe->router.bytes() + layer.moe->shared_gate.bytes();
    if (layer.moe->shared) total += bytes_of_ffn(*layer.moe->shared);
  }
  return total;
}

std::uint64_t bytes_of_stack(const std::vector<PackedMatrix>& stack) {
  std::uint64_t total = 0;
  for (const PackedMatrix& m : stack) total += m.bytes();
  return total;
}

/// Bytes of a layer's experts, the cache apart.
std::uint64_t bytes_of_experts(const MoeWeights& moe) {
  return moe.experts.bytes() + (moe.mixed ? moe.mixed->bytes() : 0);
}

std::uint64_t bytes_of_cache(const PackedDecoder& decoder) {
  return decoder.expert_cache ? decoder.expert_cache->stats().capacity : 0;
}

/// Chance that the cache does not hold an expert when all are equally likely.
double chance_of_miss(const PackedDecoder& decoder) {
  double formed = 0;
  for (const LayerWeights& layer : decoder.layers)
    if (layer.moe && layer.moe->mixed)
      formed +=
          static_cast<double>(layer.moe->mixed->formed_bytes()) * layer.moe->mixed->num_experts();
  return formed > 0 ? 1 - static_cast<double>(bytes_of_cache(decoder)) / formed : 0;
}

/// Expected bytes of a layer's routed experts that a step of `rows` tokens reads.
double layer_bytes_read(const MoeWeights& moe, const DecoderConfig& config, int rows, double miss) {
  const int num_experts = config.moe.num_experts, top_k = config.moe.top_k;
  const ExpertWeights& e = moe.experts;
  const double hit = expected_experts_hit(num_experts, top_k, rows);
  const auto own = bytes_of_stack(e.gate) + bytes_of_stack(e.up) + bytes_of_stack(e.down);
  double total = static_cast<double>(own) * hit / num_experts;
  const auto shared =
      bytes_of_stack(e.gate_in) + bytes_of_stack(e.up_in) + bytes_of_stack(e.down_out);
  if (shared > 0)
    total += static_cast<double>(shared) / config.num_groups() *
             expected_groups_hit(num_experts, config.group_size(), top_k, rows);
  if (moe.mixed)
    total +=
        hit * static_cast<double>(moe.mixed->formed_bytes()) +
        std::min(hit * miss * moe.mixed->bytes_to_form(), static_cast<double>(moe.mixed->bytes()));
  return total;
}

}  // namespace

std::uint64_t PackedDecoder::bytes() const {
  std::uint64_t total = embed.bytes() + norm.size() * sizeof(float);
  if (!config.tie_embeddings) total += head.bytes();
  for (const LayerWeights& layer : layers) total += common_bytes(layer);
  return total + expert_bytes();
}

std::uint64_t PackedDecoder::expert_bytes() const {
  std::uint64_t total = bytes_of_cache(*this);
  for (const LayerWeights& layer : layers)
    if (layer.moe) total += bytes_of_experts(*layer.moe);
  return total;
}

std::uint64_t PackedDecoder::active_bytes(int rows) const {
  double total = static_cast<double>(head.bytes() + norm.size() * sizeof(float)) +
                 static_cast<double>(embed.bytes()) / static_cast<double>(embed.rows());
  const double miss = chance_of_miss(*this);
  for (const LayerWeights& layer : layers) {
    total += static_cast<double>(common_bytes(layer));
    if (layer.moe) total += layer_bytes_read(*layer.moe, config, rows, miss);
  }
  return static_cast<std::uint64_t>(total);
}

}  // namespace talpa
