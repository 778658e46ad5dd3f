// Shapes: V vocabulary, n width, m expert width, r latent width, k_b rank of a basis, N experts,
// G groups.
#include "talpa/model/hf_names.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

class SpecList {
 public:
  explicit SpecList(const DecoderConfig& config) : c_(config) {}

  std::vector<WeightSpec> build() && {
    add("embed", {c_.vocab_size, c_.dim});
    for (int layer = 0; layer < c_.num_layers; ++layer) {
      prefix_ = fmt::format("layers.{}.", layer);
      attention();
      add("ffn_norm", {c_.dim});
      if (c_.is_moe_layer(layer)) {
        latent_ = c_.moe.latent.of_layer(layer);
        experts();
      } else {
        feed_forward("ffn", c_.ffn_dim);
      }
    }
    prefix_.clear();
    add("norm", {c_.dim});
    if (!c_.tie_embeddings) add("head", {c_.vocab_size, c_.dim});
    return std::move(specs_);
  }

 private:
  void add(const std::string& name, Shape shape) {
    specs_.push_back({prefix_ + name, std::move(shape)});
  }

  void attention() {
    const AttentionConfig& a = c_.attention;
    const std::int64_t query = std::int64_t{a.num_heads} * a.head_dim;
    const std::int64_t kv = std::int64_t{a.num_kv_heads} * a.head_dim;
    add("attn_norm", {c_.dim});
    add("attn.q", {query, c_.dim});
    add("attn.k", {kv, c_.dim});
    add("attn.v", {kv, c_.dim});
    add("attn.o", {c_.dim, query});
    if (a.qkv_bias) {
      add("attn.q_bias", {query});
      add("attn.k_bias", {kv});
      add("attn.v_bias", {kv});
    }
    if (a.qk_norm == QkNorm::kNone) return;
    const bool full = a.qk_norm == QkNorm::kFullWidth;
    add("attn.q_norm", {full ? query : a.head_dim});
    add("attn.k_norm", {full ? kv : a.head_dim});
  }

  void feed_forward(const std::string& name, std::int64_t hidden) {
    add(name + ".gate", {hidden, c_.dim});
    add(name + ".up", {hidden, c_.dim});
    add(name + ".down", {c_.dim, hidden});
  }

  void experts() {
    const MoeConfig& moe = c_.moe;
    const LatentConfig& latent = latent_;
    const bool on = latent.enabled();
    const bool shared_latent = on && latent.share_gate_up_latent;
    add("moe.router", {moe.num_experts, c_.dim});
    if (moe.selection_bias) add("moe.router_bias", {moe.num_experts});
    if (shared_latent) input_latent("moe.gate_up");
    input_matrix("moe.gate", on && latent.factor_gate, shared_latent);
    input_matrix("moe.up", on && latent.factor_up, shared_latent);
    down(on && latent.factor_down);
    if (moe.shared_hidden_dim > 0) feed_forward("shared", moe.shared_hidden_dim);
    if (moe.shared_gate) add("shared.router", {1, c_.dim});
  }

  void input_latent(const std::string& name) {
    const auto [r, rank] = latent_.input_size();
    add(name + "_in", {c_.num_groups(), rank > 0 ? rank : r, c_.dim});
    if (rank > 0) add(name + "_basis", {c_.num_groups(), r - rank, rank});
    mixing(name, latent_.input_size());
  }

  /// What comes with bases that are mixed.
  void mixing(const std::string& name, const LatentSize& size) {
    if (size.rank > 0) add(name + "_pivot", {c_.num_groups(), size.width});
    if (latent_.mixed) add(name + "_mix", {c_.moe.num_experts, c_.num_groups()});
  }

  void input_matrix(const std::string& name, bool factored, bool shared_latent) {
    if (factored && !shared_latent) input_latent(name);
    const std::int64_t columns = factored ? latent_.latent_dim : c_.dim;
    add(name, {c_.moe.num_experts, c_.moe.hidden_dim, columns});
  }

  void down(bool factored) {
    const MoeConfig& moe = c_.moe;
    const auto [r, rank] = latent_.output_size();
    add("moe.down", {moe.num_experts, factored ? r : c_.dim, moe.hidden_dim});
    if (!factored) return;
    add("moe.down_out", {c_.num_groups(), c_.dim, rank > 0 ? rank : r});
    if (rank > 0) add("moe.down_basis", {c_.num_groups(), rank, r - rank});
    mixing("moe.down", latent_.output_size());
  }

  const DecoderConfig& c_;
  LatentConfig latent_;  ///< of the layer at hand
  std::string prefix_;
  std::vector<WeightSpec> specs_;
};

}  // namespace

LatentSize latent_size_of(const LatentConfig& latent, std::string_view name) {
  const WeightName parts = split_weight_name(name);
  const LatentConfig one = latent.of_layer(parts.layer);
  return parts.role.starts_with("moe.down") ? one.output_size() : one.input_size();
}

std::vector<WeightSpec> weight_specs(const DecoderConfig& config) {
  return SpecList(config).build();
}

}  // namespace talpa
