#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "talpa/base/config.h"

namespace talpa {

enum class QkNorm : std::uint8_t { kNone, kPerHead, kFullWidth };
template <>
struct EnumNames<QkNorm> {
  static constexpr std::pair<QkNorm, const char*> table[] = {
      {QkNorm::kNone, "none"}, {QkNorm::kPerHead, "per_head"}, {QkNorm::kFullWidth, "full_width"}};
};

/// Families whose Hugging Face and GGUF layouts talpa reads and writes. kTalpa is talpa's own
/// layout for models with latent experts.
enum class Family : std::uint8_t { kLlama, kMixtral, kQwen2Moe, kQwen3Moe, kOlmoe, kTalpa };
template <>
struct EnumNames<Family> {
  static constexpr std::pair<Family, const char*> table[] = {
      {Family::kLlama, "llama"},        {Family::kMixtral, "mixtral"},
      {Family::kQwen2Moe, "qwen2_moe"}, {Family::kQwen3Moe, "qwen3_moe"},
      {Family::kOlmoe, "olmoe"},        {Family::kTalpa, "talpa"}};
};

/// Nonlinearity on mixed bases (MoBE eq. 4, SLBF): W_i = A_i f(sum_j mix_ij B_j).
enum class BasisActivation : std::uint8_t { kNone, kSilu, kTanh };
template <>
struct EnumNames<BasisActivation> {
  static constexpr std::pair<BasisActivation, const char*> table[] = {
      {BasisActivation::kNone, "none"},
      {BasisActivation::kSilu, "silu"},
      {BasisActivation::kTanh, "tanh"}};
};

struct AttentionConfig {
  int num_heads = 4;
  int num_kv_heads = 4;
  int head_dim = 32;
  bool qkv_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  double rope_theta = 10000;
  /// Queries, keys and values are clamped to [-clip_qkv, clip_qkv]; 0 = not.
  double clip_qkv = 0;

  static constexpr auto fields() {
    using C = AttentionConfig;
    return std::tuple{
        field("num_heads", &C::num_heads, "query heads"),
        field("num_kv_heads", &C::num_kv_heads, "key and value heads"),
        field("head_dim", &C::head_dim, "width of a head"),
        field("qkv_bias", &C::qkv_bias, "biases on query, key and value"),
        field("qk_norm", &C::qk_norm, "RMSNorm of queries and keys: none, per_head, full_width"),
        field("rope_theta", &C::rope_theta, "base of the rotary frequencies"),
        field("clip_qkv", &C::clip_qkv, "clamp of queries, keys and values, 0 = none")};
  }
  bool operator==(const AttentionConfig&) const = default;
};

/// r and k_b of a latent.
struct LatentSize {
  int width = 0;
  int rank = 0;
};

/// Latent experts: experts that share a projection into a small latent space.
///
/// With n = model width, m = expert width, N experts in groups of k (G = N/k groups, group of
/// expert i = i/k), latent width r:
///   gate, up factored:  W_i = A_i B_g,  A_i (m x r), B_g (r x n)      MoLE / MoLAE
///   down factored:      W_i = C_g D_i,  C_g (n x r), D_i (r x m)
///   mixed:              W_i = A_i f(sum_j mix_ij B_j), all G bases of the layer   MoBE
///   low-rank bases:     B_j = U_j V_j,  U_j (r x k_b), V_j (k_b x n)              SLBF (k = 1)
/// and alike W_i = f(sum_j mix_ij C_j) D_i, C_j = V'_j U'_j, of a mixed down.
/// k = N with a shared gate/up latent and down factored is NVIDIA's LatentMoE
/// (`fc1_latent_proj`, `fc2_latent_proj`, `moe_latent_size`).
struct LatentConfig {
  int latent_dim = 0;  ///< r; 0 = experts are dense
  int group_size = 0;  ///< k; 0 = one group of all experts
  bool factor_gate = true;
  bool factor_up = true;
  bool factor_down = false;
  bool share_gate_up_latent = false;  ///< one B for gate and up (needs both factored)
  bool mixed = false;                 ///< every expert mixes all bases, weights `mix`
  BasisActivation basis_activation = BasisActivation::kNone;  ///< needs mixed
  int basis_rank = 0;       ///< k_b, rank of a basis, below r and n; 0 = full bases; needs mixed
  int down_latent_dim = 0;  ///< r of down where it has one of its own, 0 = latent_dim
  int down_basis_rank = 0;  ///< k_b of down likewise, 0 = basis_rank
  /// The same of every layer where they differ, 0 for dense layers; each of the four settings above
  /// is then the largest. Empty: the same everywhere.
  std::vector<int> latent_dims, basis_ranks, down_latent_dims, down_basis_ranks;

  static constexpr auto fields() {
    using C = LatentConfig;
    return std::tuple{
        field("latent_dim", &C::latent_dim, "latent width r, 0 = dense experts"),
        field("group_size", &C::group_size, "experts that share a latent, 0 = all"),
        field("factor_gate", &C::factor_gate, "gate goes through the latent"),
        field("factor_up", &C::factor_up, "up goes through the latent"),
        field("factor_down", &C::factor_down, "down goes through an output latent"),
        field("share_gate_up_latent", &C::share_gate_up_latent, "one latent for gate and up"),
        field("mixed", &C::mixed, "every expert mixes all bases of the layer"),
        field("basis_activation", &C::basis_activation,
              "nonlinearity on mixed bases: none, silu, tanh"),
        field("basis_rank", &C::basis_rank, "rank of a mixed basis, 0 = full"),
        field("down_latent_dim", &C::down_latent_dim, "latent width of down, 0 = latent_dim"),
        field("down_basis_rank", &C::down_basis_rank, "basis rank of down, 0 = basis_rank"),
        field("latent_dims", &C::latent_dims, "latent width of every layer, where they differ"),
        field("basis_ranks", &C::basis_ranks, "basis rank of every layer, where they differ"),
        field("down_latent_dims", &C::down_latent_dims, "down_latent_dim of every layer"),
        field("down_basis_ranks", &C::down_basis_ranks, "down_basis_rank of every layer")};
  }
  bool enabled() const { return latent_dim > 0; }
  /// Of gate and up, and of down.
  LatentSize input_size() const { return {latent_dim, basis_rank}; }
  LatentSize output_size() const {
    return {down_latent_dim > 0 ? down_latent_dim : latent_dim,
            down_basis_rank > 0 ? down_basis_rank : basis_rank};
  }
  /// The setting of one layer, with its own sizes.
  LatentConfig of_layer(int layer) const;
  bool operator==(const LatentConfig&) const = default;
};

struct MoeConfig {
  int num_experts = 0;  ///< 0 = the model is dense
  int top_k = 2;
  int hidden_dim = 0;             ///< m, width of one expert
  bool normalize_top_k = true;    ///< the chosen weights sum to one
  bool selection_bias = false;    ///< a bias on scores decides with them who is chosen
  int shared_hidden_dim = 0;      ///< width of the shared expert, 0 = none
  bool shared_gate = false;       ///< the shared expert is scaled by sigmoid(gate . x)
  std::vector<int> dense_layers;  ///< layers with a dense feed-forward instead
  double balance_loss = 0.01;     ///< coefficient of the load-balance loss in training
  double z_loss = 0;              ///< coefficient of the router's z-loss in training
  LatentConfig latent;

  static constexpr auto fields() {
    using C = MoeConfig;
    return std::tuple{
        field("num_experts", &C::num_experts, "routed experts a layer, 0 = dense model"),
        field("top_k", &C::top_k, "experts a token is sent to"),
        field("hidden_dim", &C::hidden_dim, "width of one expert"),
        field("normalize_top_k", &C::normalize_top_k, "weights of the chosen experts sum to one"),
        field("selection_bias", &C::selection_bias,
              "a bias an expert is added to scores when experts are chosen, not to their weights"),
        field("shared_hidden_dim", &C::shared_hidden_dim, "width of the shared expert, 0 = none"),
        field("shared_gate", &C::shared_gate, "the shared expert has a sigmoid gate"),
        field("dense_layers", &C::dense_layers, "layers with a dense feed-forward"),
        field("balance_loss", &C::balance_loss, "load-balance loss coefficient (training)"),
        field("z_loss", &C::z_loss, "router z-loss coefficient (training)"),
        field("latent", &C::latent, "latent experts")};
  }
  bool operator==(const MoeConfig&) const = default;
};

/// What a decoder is: pre-norm, RMSNorm, rotary, grouped-query attention, SwiGLU, dense or with
/// experts. Both halves build their model from this.
struct DecoderConfig {
  Family family = Family::kLlama;
  /// For kTalpa: the family whose experts were made latent, to return to when they are
  /// materialised; kTalpa = none.
  Family origin = Family::kTalpa;
  int vocab_size = 0;
  int dim = 0;  ///< n, model width
  int num_layers = 0;
  int ffn_dim = 0;  ///< width of dense feed-forward layers
  double norm_eps = 1e-5;
  bool tie_embeddings = false;
  int max_positions = 2048;
  int bos_token = -1;  ///< -1 = none
  std::vector<int> eos_tokens;
  AttentionConfig attention;
  MoeConfig moe;

  static constexpr auto fields() {
    using C = DecoderConfig;
    return std::tuple{
        field("family", &C::family,
              "layout of files: llama, mixtral, qwen2_moe, qwen3_moe, olmoe, talpa"),
        field("origin", &C::origin, "family that a talpa model was made from, talpa = none"),
        field("vocab_size", &C::vocab_size, "tokens"),
        field("dim", &C::dim, "model width"),
        field("num_layers", &C::num_layers, "layers"),
        field("ffn_dim", &C::ffn_dim, "width of dense feed-forward layers"),
        field("norm_eps", &C::norm_eps, "epsilon of RMSNorm"),
        field("tie_embeddings", &C::tie_embeddings, "the output head is the embedding"),
        field("max_positions", &C::max_positions, "longest context"),
        field("bos_token", &C::bos_token, "beginning of text, -1 = none"),
        field("eos_tokens", &C::eos_tokens, "ends of text"),
        field("attention", &C::attention, "attention"),
        field("moe", &C::moe, "experts")};
  }
  /// Throws kConfig naming the setting: sizes positive and bounded, heads divisible,
  /// top_k <= num_experts, groups divide experts, latent options consistent.
  void validate(const std::string& path) const;
  bool operator==(const DecoderConfig&) const = default;

  bool is_moe_layer(int layer) const;
  bool has_moe() const { return moe.num_experts > 0; }
  /// k and G of the latent experts.
  int group_size() const;
  int num_groups() const;
};

}  // namespace talpa
