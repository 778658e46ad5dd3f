// N experts, G groups, M expert width, D model width, R latent width, B rank of a basis.
#include <torch/torch.h>

#include <optional>

#include "talpa/convert/convert.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/model/basis_pivots.h"

namespace talpa::convert {

namespace {

at::Tensor activate(const at::Tensor& bases, BasisActivation activation) {
  if (activation == BasisActivation::kSilu) return torch::silu(bases);
  if (activation == BasisActivation::kTanh) return torch::tanh(bases);
  return bases;
}

/// Rebuilds the dense experts of one projection of one layer.
class Materialiser {
 public:
  explicit Materialiser(const ModelFiles& model)
      : model_(model), latent_(model.config.moe.latent) {}

  bool is_factored(const std::string& projection) const {
    if (projection == "gate") return latent_.factor_gate;
    if (projection == "up") return latent_.factor_up;
    return latent_.factor_down;
  }

  /// Expert matrices as stored by a dense model: [N, M, D], down [N, D, M].
  void write(const std::string& prefix, const std::string& projection, float* target) const {
    const bool is_down = projection == "down";
    const bool shared = latent_.share_gate_up_latent && !is_down;
    const std::string side = shared ? "gate_up" : projection;
    const at::Tensor own = read_tensor(model_.at(prefix + projection));
    const at::Tensor bases = bases_of(prefix + side, is_down);
    std::optional<at::Tensor> mix_NG;
    if (latent_.mixed) mix_NG = read_tensor(model_.at(prefix + side + "_mix"));
    const std::int64_t num_experts = own.size(0);
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const at::Tensor basis = mix_NG ? activate(torch::tensordot((*mix_NG)[e], bases, {0}, {0}),
                                                 latent_.basis_activation)
                                      : bases[e / model_.config.group_size()];
      const at::Tensor dense = (is_down ? basis.matmul(own[e]) : own[e].matmul(basis)).contiguous();
      target = std::copy_n(dense.const_data_ptr<float>(), dense.numel(), target);
    }
  }

 private:
  /// Bases or latent projections of all groups: [G, R, D], down [G, D, R].
  at::Tensor bases_of(const std::string& name, bool is_down) const {
    const at::Tensor stored = read_tensor(model_.at(name + (is_down ? "_out" : "_in")));
    if (!latent_.mixed || latent_.basis_rank == 0) return stored;
    at::Tensor basis_GXB = read_tensor(model_.at(name + "_basis"));
    if (is_down) basis_GXB = basis_GXB.transpose(1, 2);
    const std::vector<std::int32_t> order = basis_order(model_, name + "_pivot");
    const at::Tensor order_GR = torch::tensor(order, torch::kLong).view({stored.size(0), -1});
    const at::Tensor identity_BB = torch::eye(basis_GXB.size(2));
    std::vector<at::Tensor> bases;
    for (std::int64_t g = 0; g < stored.size(0); ++g) {
      const at::Tensor left_RB =
          torch::cat({identity_BB, basis_GXB[g]}).index_select(0, order_GR[g]);
      bases.push_back(is_down ? stored[g].matmul(left_RB.t()) : left_RB.matmul(stored[g]));
    }
    return torch::stack(bases);
  }

  const ModelFiles& model_;
  const LatentConfig latent_;
};

}  // namespace

DecoderConfig materialised_config(const DecoderConfig& config) {
  if (!config.moe.latent.enabled())
    fail(ErrorCode::kUnsupported, "the model has no latent experts to materialise");
  DecoderConfig dense = config;
  dense.moe.latent = {};
  if (config.origin != Family::kTalpa) {
    dense.family = config.origin;
    dense.origin = DecoderConfig{}.origin;
  }
  dense.validate("");
  return dense;
}

WeightProvider materialising_provider(const ModelFiles& model) {
  return [&model, materialiser = Materialiser(model)](const WeightSpec& spec, float* target) {
    const std::size_t at = spec.name.find(".moe.");
    const std::string projection = at == std::string::npos ? "" : spec.name.substr(at + 5);
    const bool expert = projection == "gate" || projection == "up" || projection == "down";
    if (expert && materialiser.is_factored(projection))
      materialiser.write(spec.name.substr(0, at + 5), projection, target);
    else
      model.at(spec.name).read(target);
  };
}

void materialise(const ModelFiles& model, const std::filesystem::path& output, DType dtype,
                 bool overwrite) {
  SaveOptions save;
  save.dtype = dtype;
  save.overwrite = overwrite;
  if (model.format == "hf") save.tokenizer_from = model.path;
  save_hf_directory(output, materialised_config(model.config), materialising_provider(model), save);
}

}  // namespace talpa::convert
