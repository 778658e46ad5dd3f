#include "talpa/nn/init.h"

#include <torch/torch.h>

#include <cmath>
#include <string>
#include <string_view>

#include "talpa/base/random.h"
#include "talpa/model/basis_pivots.h"
#include "talpa/model/hf_names.h"

namespace talpa::nn {
namespace {

constexpr double kFixedStd = 0.02;

bool ends_with(std::string_view name, std::initializer_list<std::string_view> endings) {
  for (std::string_view ending : endings)
    if (name.ends_with(ending)) return true;
  return false;
}

// Root mean square of f(z), z standard normal.
double activation_rms(BasisActivation activation) {
  switch (activation) {
    case BasisActivation::kNone:
      return 1;
    case BasisActivation::kSilu:
      return 0.596469;
    case BasisActivation::kTanh:
      return 0.627928;
  }
  return 1;
}

class Initialiser {
 public:
  Initialiser(const DecoderConfig& config, InitialScale scale)
      : config_(config), latent_(config.moe.latent), scale_(scale) {}

  void fill(const std::string& name, at::Tensor& tensor, std::uint64_t seed) const {
    if (name.ends_with("norm")) {
      tensor.fill_(1);
    } else if (name.ends_with("_bias")) {
      tensor.zero_();
    } else if (name.ends_with("_mix")) {
      const auto num_groups = tensor.size(1);
      const auto group_N = at::arange(tensor.size(0)).floor_divide(tensor.size(0) / num_groups);
      tensor.copy_(at::one_hot(group_N, num_groups));
    } else if (is_pivot(name)) {
      tensor.zero_().slice(1, 0, latent_size_of(latent_, name).rank).fill_(1);
    } else {
      fill_normal(tensor, std_of(name, tensor.size(-1)), Random(seed, "init:" + name));
    }
  }

 private:
  static void fill_normal(at::Tensor& tensor, double std, Random random) {
    at::Tensor values = at::empty(tensor.sizes(), at::kDouble);
    auto* value = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) value[i] = std * random.normal();
    tensor.copy_(values);
  }

  double std_of(const std::string& name, std::int64_t inputs) const {
    // Rows of U that are not the identity's: U V has V's variance in all rows.
    if (name.ends_with("_basis"))
      return 1 / std::sqrt(static_cast<double>(latent_size_of(latent_, name).rank));
    if (is_factor(name)) return factor_std(name, inputs);
    return scaled_down(name, is_feed_forward(name) ? std_of_inputs(inputs) : kFixedStd);
  }

  double std_of_inputs(std::int64_t inputs) const {
    return scale_ == InitialScale::kFanIn ? 1 / std::sqrt(static_cast<double>(inputs)) : kFixedStd;
  }

  // Residual outputs of all layers add up.
  double scaled_down(const std::string& name, double std) const {
    const bool residual = ends_with(name, {"attn.o", ".down", ".down_out"});
    return residual ? std / std::sqrt(2.0 * config_.num_layers) : std;
  }

  static bool is_feed_forward(const std::string& name) {
    const std::string_view role = split_weight_name(name).role;
    return !role.ends_with(".router") &&
           (role.starts_with("ffn.") || role.starts_with("moe.") || role.starts_with("shared."));
  }

  bool is_factor(const std::string& name) const {
    if (!latent_.enabled()) return false;
    return ends_with(name, {"_in", "_out"}) ||
           (latent_.factor_gate && name.ends_with("moe.gate")) ||
           (latent_.factor_up && name.ends_with("moe.up")) ||
           (latent_.factor_down && name.ends_with("moe.down"));
  }

  // Entries of A B have the variance r var(A) var(B).
  double factor_std(const std::string& name, std::int64_t inputs) const {
    const int width = latent_size_of(latent_, name).width;
    const double root_r = std::sqrt(static_cast<double>(width));
    const bool basis = ends_with(name, {"_in", "_out"});
    const bool down = name.find(".down") != std::string::npos;
    const double dense =
        scaled_down(name, std_of_inputs(down ? config_.moe.hidden_dim : config_.dim));
    if (latent_.basis_activation != BasisActivation::kNone)
      return basis ? 1 : dense / (root_r * activation_rms(latent_.basis_activation));
    if (scale_ == InitialScale::kFixed) return std::sqrt(dense / root_r);
    // Low-rank bases of down hold fewer columns than the latents they read.
    if (name.ends_with("_out")) inputs = width;
    // Of down's two factors the shared one is the residual output.
    return name.ends_with(".down") ? std_of_inputs(inputs)
                                   : scaled_down(name, std_of_inputs(inputs));
  }

  const DecoderConfig& config_;
  const LatentConfig& latent_;
  InitialScale scale_;
};

}  // namespace

void initialise(Parameters& parameters, const DecoderConfig& config, std::uint64_t seed,
                InitialScale scale) {
  const torch::NoGradGuard no_grad;
  const Initialiser initialiser(config, scale);
  for (auto& [name, tensor] : parameters) initialiser.fill(name, tensor, seed);
}

}  // namespace talpa::nn
