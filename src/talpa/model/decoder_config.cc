#include "talpa/model/decoder_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace talpa {
namespace {

// Bounds keep every count of parameters far inside 64 bits, whatever a file says.
constexpr std::int64_t kMaxVocab = 1 << 24;
constexpr std::int64_t kMaxDim = 1 << 17;
constexpr std::int64_t kMaxHidden = 1 << 20;
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxHeads = 1 << 12;
constexpr std::int64_t kMaxHeadDim = 1 << 12;
constexpr std::int64_t kMaxExperts = 1 << 16;
constexpr std::int64_t kMaxExpertsInAll = 1 << 20;
constexpr std::int64_t kMaxPositions = 1 << 30;

/// Checks the settings of one description; `path` is prefixed to their names.
class Validator {
 public:
  Validator(const DecoderConfig& config, const std::string& path) : c_(config), path_(path) {}

  void run() const {
    range("vocab_size", c_.vocab_size, 1, kMaxVocab);
    range("dim", c_.dim, 1, kMaxDim);
    range("num_layers", c_.num_layers, 1, kMaxLayers);
    range("max_positions", c_.max_positions, 1, kMaxPositions);
    range("bos_token", c_.bos_token, -1, kMaxVocab);
    for (const int token : c_.eos_tokens) range("eos_tokens", token, 0, kMaxVocab);
    real("norm_eps", c_.norm_eps, 0, 1);
    attention();
    if (c_.moe.num_experts != 0) experts();
    range("ffn_dim", c_.ffn_dim, needs_ffn() ? 1 : 0, kMaxHidden);
    if (c_.moe.num_experts == 0 && c_.moe.latent.latent_dim != 0)
      refuse("moe.latent.latent_dim", c_.moe.latent.latent_dim, "needs moe.num_experts > 0");
  }

 private:
  std::string name(const char* setting) const { return detail::join(path_, setting); }

  template <class T>
  [[noreturn]] void refuse(const char* setting, const T& value, const std::string& why) const {
    fail(ErrorCode::kConfig, "{} = {} {}", name(setting), value, why);
  }

  void range(const char* setting, std::int64_t value, std::int64_t low, std::int64_t high) const {
    if (value < low || value > high)
      refuse(setting, value, fmt::format("is outside {} to {}", low, high));
  }

  void real(const char* setting, double value, double low, double high) const {
    if (!(value >= low && value <= high))
      refuse(setting, value, fmt::format("is outside {} to {}", low, high));
  }

  bool needs_ffn() const {
    for (int layer = 0; layer < c_.num_layers; ++layer)
      if (!c_.is_moe_layer(layer)) return true;
    return false;
  }

  void attention() const {
    const AttentionConfig& a = c_.attention;
    range("attention.num_heads", a.num_heads, 1, kMaxHeads);
    range("attention.num_kv_heads", a.num_kv_heads, 1, kMaxHeads);
    range("attention.head_dim", a.head_dim, 2, kMaxHeadDim);
    if (a.num_heads % a.num_kv_heads != 0)
      refuse(
          "attention.num_heads", a.num_heads,
          fmt::format("is no multiple of {} = {}", name("attention.num_kv_heads"), a.num_kv_heads));
    if (a.head_dim % 2 != 0)
      refuse("attention.head_dim", a.head_dim, "is odd; rotary embedding turns pairs");
    real("attention.clip_qkv", a.clip_qkv, 0, 1e30);
    if (!(a.rope_theta > 0 && a.rope_theta <= 1e30))
      refuse("attention.rope_theta", a.rope_theta, "is not positive");
  }

  void experts() const {
    const MoeConfig& m = c_.moe;
    range("moe.num_experts", m.num_experts, 1, kMaxExperts);
    if (static_cast<std::int64_t>(m.num_experts) * c_.num_layers > kMaxExpertsInAll)
      refuse("moe.num_experts", m.num_experts,
             fmt::format("in {} layers is more than {} experts", c_.num_layers, kMaxExpertsInAll));
    range("moe.top_k", m.top_k, 1, kMaxExperts);
    if (m.top_k > m.num_experts)
      refuse("moe.top_k", m.top_k,
             fmt::format("exceeds {} = {}", name("moe.num_experts"), m.num_experts));
    range("moe.hidden_dim", m.hidden_dim, 1, kMaxHidden);
    range("moe.shared_hidden_dim", m.shared_hidden_dim, 0, kMaxHidden);
    if (m.shared_gate && m.shared_hidden_dim == 0)
      refuse("moe.shared_gate", true, "needs moe.shared_hidden_dim > 0");
    real("moe.balance_loss", m.balance_loss, 0, 1e6);
    real("moe.z_loss", m.z_loss, 0, 1e6);
    dense_layers();
    latent();
  }

  void dense_layers() const {
    int previous = -1;
    for (const int layer : c_.moe.dense_layers) {
      range("moe.dense_layers", layer, 0, c_.num_layers - 1);
      if (layer <= previous) refuse("moe.dense_layers", layer, "is not in increasing order");
      previous = layer;
    }
  }

  void latent() const {
    const LatentConfig& l = c_.moe.latent;
    range("moe.latent.latent_dim", l.latent_dim, 0, kMaxDim);
    range("moe.latent.group_size", l.group_size, 0, c_.moe.num_experts);
    by_layer("moe.latent.latent_dims", l.latent_dims, "moe.latent.latent_dim", l.latent_dim);
    by_layer("moe.latent.basis_ranks", l.basis_ranks, "moe.latent.basis_rank", l.basis_rank);
    by_layer("moe.latent.down_latent_dims", l.down_latent_dims, "moe.latent.down_latent_dim",
             l.down_latent_dim);
    by_layer("moe.latent.down_basis_ranks", l.down_basis_ranks, "moe.latent.down_basis_rank",
             l.down_basis_rank);
    down_sizes(l);
    if (!l.enabled()) return;
    if (l.group_size != 0 && c_.moe.num_experts % l.group_size != 0)
      refuse("moe.latent.group_size", l.group_size,
             fmt::format("does not divide {} = {}", name("moe.num_experts"), c_.moe.num_experts));
    if (!l.factor_gate && !l.factor_up && !l.factor_down)
      refuse("moe.latent.latent_dim", l.latent_dim,
             "factors nothing: set factor_gate, factor_up or factor_down");
    if (l.share_gate_up_latent && !(l.factor_gate && l.factor_up))
      refuse("moe.latent.share_gate_up_latent", true, "needs factor_gate and factor_up");
    if (l.basis_activation != BasisActivation::kNone && !l.mixed)
      refuse("moe.latent.basis_activation", enum_name(l.basis_activation), "needs mixed = true");
    if (l.basis_rank != 0) low_rank_bases(l);
  }

  /// `values` are of layers, `largest` is the setting of the whole model.
  void by_layer(const char* key, const std::vector<int>& values, const char* largest_key,
                int largest) const {
    if (values.empty()) return;
    if (values.size() != static_cast<std::size_t>(c_.num_layers))
      refuse(
          key, fmt::format("{}", fmt::join(values, ", ")),
          fmt::format("is not one number for each of {} = {}", name("num_layers"), c_.num_layers));
    for (int layer = 0; layer < c_.num_layers; ++layer) {
      const bool has_experts = c_.is_moe_layer(layer);
      range(fmt::format("{}[{}]", key, layer).c_str(), values[static_cast<std::size_t>(layer)],
            has_experts ? 1 : 0, has_experts ? kMaxDim : 0);
    }
    const int found = *std::max_element(values.begin(), values.end());
    if (found != largest)
      refuse(largest_key, largest, fmt::format("is not the largest of {}, {}", name(key), found));
  }

  void low_rank_bases(const LatentConfig& l) const {
    range("moe.latent.basis_rank", l.basis_rank, 0, kMaxDim);
    if (!l.mixed) refuse("moe.latent.basis_rank", l.basis_rank, "needs mixed = true");
    for (int layer = 0; layer < c_.num_layers; ++layer) {
      if (!c_.is_moe_layer(layer)) continue;
      const LatentConfig one = l.of_layer(layer);
      auto key = [&](const char* setting, const std::vector<int>& values) {
        return values.empty() ? fmt::format("moe.latent.{}", setting)
                              : fmt::format("moe.latent.{}s[{}]", setting, layer);
      };
      const std::string width = key("latent_dim", l.latent_dims);
      const std::string rank = key("basis_rank", l.basis_ranks);
      if (l.factor_gate || l.factor_up) low_rank(one.input_size(), width, rank);
      if (!l.factor_down) continue;
      low_rank(one.output_size(),
               l.down_latent_dim > 0 ? key("down_latent_dim", l.down_latent_dims) : width,
               l.down_basis_rank > 0 ? key("down_basis_rank", l.down_basis_ranks) : rank);
    }
  }

  void low_rank(LatentSize size, const std::string& width, const std::string& rank) const {
    const int limit = std::min(size.width, c_.dim);
    if (size.rank >= limit)
      refuse(rank.c_str(), size.rank,
             fmt::format("is not below {} = {}; 0 = full bases",
                         name(size.width < c_.dim ? width.c_str() : "dim"), limit));
  }

  void down_sizes(const LatentConfig& l) const {
    range("moe.latent.down_latent_dim", l.down_latent_dim, 0, kMaxDim);
    range("moe.latent.down_basis_rank", l.down_basis_rank, 0, kMaxDim);
    if (l.down_latent_dim > 0 && (!l.factor_down || !l.enabled()))
      refuse("moe.latent.down_latent_dim", l.down_latent_dim,
             "needs factor_down = true and latent_dim > 0");
    if (l.down_basis_rank > 0 && (!l.factor_down || l.basis_rank == 0))
      refuse("moe.latent.down_basis_rank", l.down_basis_rank,
             "needs factor_down = true and basis_rank > 0");
  }

  const DecoderConfig& c_;
  const std::string& path_;
};

}  // namespace

LatentConfig LatentConfig::of_layer(int layer) const {
  LatentConfig one = *this;
  auto take = [&](int& value, std::vector<int>& of_layers) {
    if (!of_layers.empty()) value = of_layers.at(static_cast<std::size_t>(layer));
    of_layers.clear();
  };
  take(one.latent_dim, one.latent_dims);
  take(one.basis_rank, one.basis_ranks);
  take(one.down_latent_dim, one.down_latent_dims);
  take(one.down_basis_rank, one.down_basis_ranks);
  return one;
}

void DecoderConfig::validate(const std::string& path) const { Validator(*this, path).run(); }

bool DecoderConfig::is_moe_layer(int layer) const {
  const auto& dense = moe.dense_layers;
  return has_moe() && std::find(dense.begin(), dense.end(), layer) == dense.end();
}

int DecoderConfig::group_size() const {
  return moe.latent.group_size > 0 ? moe.latent.group_size : moe.num_experts;
}

int DecoderConfig::num_groups() const {
  return moe.num_experts > 0 ? moe.num_experts / group_size() : 0;
}

}  // namespace talpa
