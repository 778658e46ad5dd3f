#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/engine/generate.h"
#include "talpa/engine/model.h"
#include "talpa/model/basis_pivots.h"

namespace talpa::testing {

/// A kind of decoder that the engine must run.
struct DecoderCase {
  std::string name;
  DecoderConfig config;
  EngineOptions options = {.threads = 2};

  /// The case's options with other types or threads.
  EngineOptions with(std::optional<DType> weights, int threads) const {
    EngineOptions changed = options;
    changed.weights = weights;
    changed.threads = threads;
    return changed;
  }
};

inline DecoderConfig small_config(Family family) {
  DecoderConfig c;
  c.family = family;
  c.vocab_size = 101;
  c.dim = 48;
  c.num_layers = 2;
  c.ffn_dim = 80;
  c.max_positions = 4096;
  c.attention.num_heads = 6;
  c.attention.num_kv_heads = 2;
  c.attention.head_dim = 8;
  return c;
}

inline DecoderConfig small_moe(Family family) {
  DecoderConfig c = small_config(family);
  c.moe.num_experts = 8;
  c.moe.top_k = 3;
  c.moe.hidden_dim = 40;
  return c;
}

inline DecoderConfig small_latent(const LatentConfig& latent) {
  DecoderConfig c = small_moe(Family::kTalpa);
  c.moe.latent = latent;
  c.moe.dense_layers = {0};
  return c;
}

/// MoBE's experts, and SLBF's: low-rank bases, one an expert, of all three matrices.
inline DecoderConfig small_mobe(BasisActivation activation) {
  return small_latent(
      {.latent_dim = 40, .group_size = 2, .mixed = true, .basis_activation = activation});
}
inline DecoderConfig small_slbf() {
  return small_latent({.latent_dim = 40,
                       .group_size = 1,
                       .factor_down = true,
                       .mixed = true,
                       .basis_activation = BasisActivation::kSilu,
                       .basis_rank = 6});
}
/// The same with widths and ranks of their own in each layer.
inline DecoderConfig small_slbf_by_layer() {
  DecoderConfig c = small_slbf();
  c.moe.dense_layers = {};
  c.moe.latent.latent_dims = {40, 24};
  c.moe.latent.basis_ranks = {5, 9};
  c.moe.latent.basis_rank = 9;
  c.moe.latent.down_latent_dims = {24, 32};
  c.moe.latent.down_latent_dim = 32;
  c.moe.latent.down_basis_rank = 7;
  return c;
}

inline std::vector<DecoderCase> decoder_cases() {
  std::vector<DecoderCase> cases = {{"llama", small_config(Family::kLlama)},
                                    {"mixtral", small_moe(Family::kMixtral)},
                                    {"qwen2_moe", small_moe(Family::kQwen2Moe)},
                                    {"qwen3_moe", small_moe(Family::kQwen3Moe)},
                                    {"olmoe", small_moe(Family::kOlmoe)}};
  cases[0].config.tie_embeddings = true;
  DecoderConfig& qwen2 = cases[2].config;
  qwen2.attention.qkv_bias = true;
  qwen2.moe.shared_hidden_dim = 56;
  qwen2.moe.shared_gate = true;
  cases[3].config.attention.qk_norm = QkNorm::kPerHead;
  DecoderConfig& olmoe = cases[4].config;
  olmoe.attention.qk_norm = QkNorm::kFullWidth;
  olmoe.attention.clip_qkv = 2;
  olmoe.moe.normalize_top_k = false;
  cases.push_back({"latent_gate_up", small_latent({.latent_dim = 16, .group_size = 4})});
  cases.push_back(
      {"latent_all",
       small_latent({.latent_dim = 24, .factor_down = true, .share_gate_up_latent = true})});
  cases.push_back({"latent_mixed", small_latent({.latent_dim = 16,
                                                 .group_size = 2,
                                                 .factor_down = true,
                                                 .mixed = true,
                                                 .basis_activation = BasisActivation::kSilu})});
  cases.push_back({"mobe", small_mobe(BasisActivation::kTanh)});
  cases.push_back({"slbf", small_slbf()});
  cases.push_back({"groups_as_dense",
                   small_latent({.latent_dim = 16, .group_size = 4, .factor_down = true}),
                   {.experts = ExpertForm::kDense, .threads = 2}});
  cases.push_back({"slbf_by_layer", small_slbf_by_layer()});
  cases.push_back({"latent_down", small_latent({.latent_dim = 16,
                                                .group_size = 4,
                                                .factor_down = true,
                                                .share_gate_up_latent = true,
                                                .down_latent_dim = 24})});
  // Room for a few of eight experts, so that some are found and some are not.
  for (const std::size_t base : {7, 8, 9}) {
    DecoderCase on_demand = cases[base];
    on_demand.name += "_on_demand";
    on_demand.options.experts = ExpertForm::kLatent;
    on_demand.options.expert_cache = 60000;
    cases.push_back(on_demand);
  }
  return cases;
}

/// Ones at `rank` places of each row, others in each.
inline void fill_pivots(const Shape& shape, int rank, float* target) {
  const std::int64_t width = shape[1];
  std::fill_n(target, shape[0] * width, 0.0f);
  for (std::int64_t row = 0; row < shape[0]; ++row)
    for (std::int64_t i = 0; i < rank; ++i)
      target[row * width + (row + i * (width / rank)) % width] = 1;
}

/// Writes a checkpoint of random weights; norms near one, matrices scaled to keep variance.
inline void save_random(const DecoderConfig& config, const std::filesystem::path& path) {
  const WeightProvider provider = [&config](const WeightSpec& spec, float* target) {
    if (is_pivot(spec.name))
      return fill_pivots(spec.shape, latent_size_of(config.moe.latent, spec.name).rank, target);
    Random random(17, spec.name);
    const double scale = spec.shape.size() < 2 ? 0.1 : 1.4 / std::sqrt(spec.shape.back());
    const bool norm = spec.shape.size() == 1 && spec.name.find("norm") != std::string::npos;
    for (std::int64_t i = 0; i < num_elements(spec.shape); ++i)
      target[i] = static_cast<float>((norm ? 1 : 0) + scale * random.normal());
  };
  save_hf_directory(path, config, provider, {.dtype = DType::kF32});
}

inline LoadedModel random_model(const DecoderConfig& config, const Scratch& scratch,
                                const EngineOptions& options = {.threads = 2}) {
  const auto path = scratch / "model";
  if (!std::filesystem::exists(path)) save_random(config, path);
  return load_model(path, options);
}

inline std::vector<TokenId> random_tokens(int count, std::uint64_t seed, int vocab = 101) {
  Random random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& t : tokens) t = static_cast<TokenId>(random.below(static_cast<unsigned>(vocab)));
  return tokens;
}

/// Logits of every token, fed at once to a fresh cache.
inline std::vector<float> all_logits(Model& model, std::span<const TokenId> tokens) {
  KvCache cache(model.config(), static_cast<int>(tokens.size()));
  const SequenceInput input{&cache, tokens, LogitsWanted::kAll};
  return model.forward({&input, 1});
}

}  // namespace talpa::testing
