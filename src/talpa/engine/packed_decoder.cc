#include "talpa/engine/packed_decoder.h"

#include <string>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/base/memory.h"
#include "talpa/engine/expert_choice.h"

namespace talpa {

namespace {

/// Finds tensors by name and packs them.
class Packer {
 public:
  Packer(const ModelFiles& files, std::optional<DType> wanted, ExpertForm form, ThreadPool& pool,
         kernel::PanelMemory& memory)
      : files_(files), wanted_(wanted), form_(form), pool_(pool), memory_(memory) {}

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
  void experts(const std::string& prefix, MoeWeights& moe) const;
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
      auto packed = pack_stack(source, count, held_type(source.dtype, wanted), pool_, &memory_);
      for (const TensorView& piece : weight.pieces) files_.store->release(piece.bytes);
      return packed;
    } catch (const Error& error) {
      fail(error.code(), "{}: {}: {}", files_.path.string(), name, error.what());
    }
  }

  const ModelFiles& files_;
  std::optional<DType> wanted_;
  ExpertForm form_;
  ThreadPool& pool_;
  kernel::PanelMemory& memory_;
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

void Packer::experts(const std::string& prefix, MoeWeights& moe) const {
  const LatentConfig& latent = files_.config.moe.latent;
  const bool on = latent.enabled(), is_dense = form_ == ExpertForm::kDense;
  const bool is_formed = on && (latent.mixed || is_dense);
  ExpertWeights& e = moe.experts;
  if (is_formed && is_dense) e = form_all_experts(files_, prefix, wanted_, pool_, memory_);
  if (is_formed && !is_dense)
    moe.mixed = std::make_unique<const MixedExperts>(files_, prefix, wanted_, pool_);
  if (!(is_formed && latent.factor_gate)) e.gate = stack(prefix + "gate");
  if (!(is_formed && latent.factor_up)) e.up = stack(prefix + "up");
  if (!(is_formed && latent.factor_down)) e.down = stack(prefix + "down");
  if (!on || is_formed) return;
  e.group_size = files_.config.group_size();
  e.share_gate_up = latent.share_gate_up_latent;
  e.gate_in = stack(prefix + (e.share_gate_up ? "gate_up_in" : "gate_in"));
  e.up_in = stack(prefix + "up_in");
  e.down_out = stack(prefix + "down_out");
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
  moe.selection_bias = vector_if(prefix + "moe.router_bias");
  experts(prefix + "moe.", moe);
  if (has(prefix + "shared.gate")) moe.shared = feed_forward(prefix + "shared.");
  if (has(prefix + "shared.router")) moe.shared_gate = float_matrix(prefix + "shared.router");
  return layer;
}

/// Null where no experts are formed as tokens come.
std::unique_ptr<ExpertCache> start_cache(const PackedDecoder& decoder, const EngineOptions& options,
                                         std::uint64_t available, const std::string& path) {
  std::uint64_t formed = 0;
  for (const LayerWeights& layer : decoder.layers)
    if (layer.moe && layer.moe->mixed)
      formed +=
          layer.moe->mixed->formed_bytes() * static_cast<unsigned>(layer.moe->mixed->num_experts());
  if (formed == 0) {
    if (options.expert_cache)
      log::warn(
          "{}: no experts are multiplied out as tokens come: the bound of their cache is not "
          "used",
          path);
    return nullptr;
  }
  const std::uint64_t capacity = expert_cache_bytes(options.expert_cache, formed, available);
  constexpr double kMiB = 1 << 20;
  log::info("{}: keeps up to {:.1f} of {:.1f} MiB of experts multiplied out", path,
            static_cast<double>(capacity) / kMiB, static_cast<double>(formed) / kMiB);
  return std::make_unique<ExpertCache>(capacity);
}

}  // namespace

PackedDecoder pack_decoder(const ModelFiles& files, const EngineOptions& options,
                           ThreadPool& pool) {
  const std::uint64_t available = memory_info().available;
  const bool is_latent = files.config.has_moe() && files.config.moe.latent.enabled();
  const ExpertChoice choice =
      choose_experts(files.config, options.experts,
                     is_latent ? dense_expert_bytes(files, options.weights) : 0, available);
  const std::string path = files.path.string();
  if (is_latent)
    log::info("{}: latent experts run {}: {}", path,
              choice.form == ExpertForm::kDense ? "as dense ones" : "latent", choice.reason);
  kernel::PanelMemory memory;
  const Packer packer(files, options.weights, choice.form, pool, memory);
  PackedDecoder decoder;
  decoder.config = files.config;
  decoder.expert_form = choice.form;
  decoder.embed = packer.vocabulary_matrix("embed");
  decoder.head = files.config.tie_embeddings ? decoder.embed : packer.vocabulary_matrix("head");
  decoder.norm = packer.vector("norm");
  for (int i = 0; i < files.config.num_layers; ++i) decoder.layers.push_back(packer.layer(i));
  decoder.expert_cache = start_cache(decoder, options, available, path);
  return decoder;
}

}  // namespace talpa
