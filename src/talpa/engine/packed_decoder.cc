#include "talpa/engine/packed_decoder.h"

#include <string>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/engine/mixed_experts.h"
#include "talpa/model/accounting.h"

namespace talpa {

namespace {

/// Finds tensors by name and packs them.
class Packer {
 public:
  Packer(const ModelFiles& files, std::optional<DType> wanted, ThreadPool& pool)
      : files_(files), wanted_(wanted), pool_(pool) {}

  bool has(const std::string& name) const { return files_.weights.count(name) != 0; }

  std::vector<float> vector(const std::string& name) const {
    const Weight& weight = files_.at(name);
    std::vector<float> values(static_cast<std::size_t>(num_elements(weight.shape)));
    weight.read(values.data());
    return values;
  }
  std::vector<float> vector_if(const std::string& name) const {
    return has(name) ? vector(name) : std::vector<float>{};
  }

  PackedMatrix matrix(const std::string& name) const { return stack_of(name, 1, wanted_).front(); }
  /// Embedding or head: four bits are too few there, as in llama.cpp's quantised files.
  PackedMatrix vocabulary_matrix(const std::string& name) const {
    const bool four_bits = wanted_ == DType::kQ4_0 || wanted_ == DType::kQ4_1;
    return stack_of(name, 1, four_bits ? DType::kQ8_0 : wanted_).front();
  }
  PackedMatrix float_matrix(const std::string& name) const {
    return stack_of(name, 1, DType::kF32).front();
  }
  /// Matrices along the first of three dimensions; empty if the tensor is absent.
  std::vector<PackedMatrix> stack(const std::string& name) const {
    if (!has(name)) return {};
    return stack_of(name, static_cast<int>(files_.at(name).shape.front()), wanted_);
  }

  FeedForwardWeights feed_forward(const std::string& prefix) const {
    return {matrix(prefix + "gate"), matrix(prefix + "up"), matrix(prefix + "down")};
  }
  AttentionWeights attention(const std::string& prefix) const;
  ExpertWeights experts(const std::string& prefix) const;
  LayerWeights layer(int index) const;

 private:
  std::vector<PackedMatrix> stack_of(const std::string& name, int count,
                                     std::optional<DType> wanted) const {
    const Weight& weight = files_.at(name);
    const std::int64_t columns = weight.shape.back();
    const RowSource source{num_elements(weight.shape) / columns, columns, weight.dtype(),
                           [&](std::int64_t first, std::int64_t rows, std::byte* target) {
                             weight.read_rows(first, rows, target);
                           }};
    try {
      return pack_stack(source, count, held_type(source.dtype, wanted), pool_);
    } catch (const Error& error) {
      fail(error.code(), "{}: {}: {}", files_.path.string(), name, error.what());
    }
  }

  const ModelFiles& files_;
  std::optional<DType> wanted_;
  ThreadPool& pool_;
};

AttentionWeights Packer::attention(const std::string& prefix) const {
  AttentionWeights a;
  a.q = matrix(prefix + "q");
  a.k = matrix(prefix + "k");
  a.v = matrix(prefix + "v");
  a.o = matrix(prefix + "o");
  a.q_bias = vector_if(prefix + "q_bias");
  a.k_bias = vector_if(prefix + "k_bias");
  a.v_bias = vector_if(prefix + "v_bias");
  a.q_norm = vector_if(prefix + "q_norm");
  a.k_norm = vector_if(prefix + "k_norm");
  return a;
}

ExpertWeights Packer::experts(const std::string& prefix) const {
  const LatentConfig& latent = files_.config.moe.latent;
  if (latent.enabled() && latent.mixed)
    return materialise_mixed_experts(files_, prefix, wanted_, pool_);
  ExpertWeights e;
  e.gate = stack(prefix + "gate");
  e.up = stack(prefix + "up");
  e.down = stack(prefix + "down");
  if (!latent.enabled()) return e;
  e.group_size = files_.config.group_size();
  e.share_gate_up = latent.share_gate_up_latent;
  e.gate_in = stack(prefix + (e.share_gate_up ? "gate_up_in" : "gate_in"));
  e.up_in = stack(prefix + "up_in");
  e.down_out = stack(prefix + "down_out");
  return e;
}

LayerWeights Packer::layer(int index) const {
  const std::string prefix = fmt::format("layers.{}.", index);
  LayerWeights layer;
  layer.attn_norm = vector(prefix + "attn_norm");
  layer.ffn_norm = vector(prefix + "ffn_norm");
  layer.attention = attention(prefix + "attn.");
  if (!files_.config.is_moe_layer(index)) {
    layer.ffn = feed_forward(prefix + "ffn.");
    return layer;
  }
  MoeWeights& moe = layer.moe.emplace();
  moe.router = float_matrix(prefix + "moe.router");
  moe.experts = experts(prefix + "moe.");
  if (has(prefix + "shared.gate")) moe.shared = feed_forward(prefix + "shared.");
  if (has(prefix + "shared.router")) moe.shared_gate = float_matrix(prefix + "shared.router");
  return layer;
}

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

}  // namespace

std::uint64_t PackedDecoder::bytes() const {
  std::uint64_t total = embed.bytes() + norm.size() * sizeof(float);
  if (!config.tie_embeddings) total += head.bytes();
  for (const LayerWeights& layer : layers)
    total += common_bytes(layer) + (layer.moe ? layer.moe->experts.bytes() : 0);
  return total;
}

std::uint64_t PackedDecoder::expert_bytes() const {
  std::uint64_t total = 0;
  for (const LayerWeights& layer : layers)
    if (layer.moe) total += layer.moe->experts.bytes();
  return total;
}

std::uint64_t PackedDecoder::active_bytes() const {
  const MoeConfig& moe = config.moe;
  double total = static_cast<double>(head.bytes() + norm.size() * sizeof(float)) +
                 static_cast<double>(embed.bytes()) / static_cast<double>(embed.rows());
  for (const LayerWeights& layer : layers) {
    total += static_cast<double>(common_bytes(layer));
    if (!layer.moe) continue;
    const ExpertWeights& e = layer.moe->experts;
    const auto own = bytes_of_stack(e.gate) + bytes_of_stack(e.up) + bytes_of_stack(e.down);
    total += static_cast<double>(own) * moe.top_k / moe.num_experts;
    const auto shared =
        bytes_of_stack(e.gate_in) + bytes_of_stack(e.up_in) + bytes_of_stack(e.down_out);
    if (shared > 0)
      total += static_cast<double>(shared) / config.num_groups() *
               expected_groups_hit(moe.num_experts, config.group_size(), moe.top_k);
  }
  return static_cast<std::uint64_t>(total);
}

PackedDecoder pack_decoder(const ModelFiles& files, std::optional<DType> wanted, ThreadPool& pool) {
  const Packer packer(files, wanted, pool);
  PackedDecoder decoder;
  decoder.config = files.config;
  decoder.embed = packer.vocabulary_matrix("embed");
  decoder.head = files.config.tie_embeddings ? decoder.embed : packer.vocabulary_matrix("head");
  decoder.norm = packer.vector("norm");
  for (int i = 0; i < files.config.num_layers; ++i) decoder.layers.push_back(packer.layer(i));
  if (files.config.moe.latent.enabled() && files.config.moe.latent.mixed)
    log::info("{}: experts on mixed bases run as dense experts", files.path.string());
  return decoder;
}

}  // namespace talpa
