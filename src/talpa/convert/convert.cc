// N experts, G groups, M expert width, D model width, R latent width.
#include "talpa/convert/convert.h"

#include <torch/torch.h>

#include <chrono>
#include <cmath>

#include "talpa/base/file.h"
#include "talpa/base/progress.h"
#include "talpa/convert/method.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/model/accounting.h"

namespace talpa::convert {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void copy_to(const at::Tensor& values, const WeightSpec& spec, float* target) {
  if (values.sizes().vec() != spec.shape)
    fail(ErrorCode::kInternal, "{} has shape {}, expected {}", spec.name,
         to_string(values.sizes().vec()), to_string(spec.shape));
  const at::Tensor flat = values.contiguous();
  std::copy_n(flat.const_data_ptr<float>(), flat.numel(), target);
}

/// "layers.3.moe.gate_in" -> 3, "gate_in"; layer -1 for what is not an MoE tensor.
std::pair<int, std::string> moe_tensor(const std::string& name) {
  int layer = -1;
  char rest[64] = {};
  if (std::sscanf(name.c_str(), "layers.%d.moe.%63s", &layer, rest) != 2) return {-1, {}};
  return {layer, rest};
}

/// Converts one layer at a time, as the writer asks for its tensors.
class LayerConverter {
 public:
  LayerConverter(const ModelFiles& model, const LatentConfig& latent, const ConvertOptions& options,
                 ConversionReport& report)
      : model_(model),
        latent_(latent),
        materialise_(options.materialise),
        method_(method_named(options.method)),
        report_(report),
        progress_(fmt::format("converting ({})", options.method), model.config.num_layers) {
    fit_.latent_dim = latent.latent_dim;
    fit_.group_size = latent.group_size > 0 ? latent.group_size : model.config.moe.num_experts;
    fit_.reduce_rank = options.reduce_rank;
  }

  void provide(const WeightSpec& spec, float* target) {
    const auto [layer, part] = moe_tensor(spec.name);
    if (layer < 0 || part == "router" || !converts(part)) {
      model_.at(spec.name).read(target);
      return;
    }
    if (layer != layer_) fit_layer(layer);
    copy_to(tensors_.at(part), spec, target);
  }

  double squared_error() const { return squared_error_; }
  double squared_norm() const { return squared_norm_; }

 private:
  bool converts(const std::string& part) const {
    if (part.starts_with("gate")) return latent_.factor_gate;
    if (part.starts_with("up")) return latent_.factor_up;
    return latent_.factor_down;
  }

  Projection load(int layer, const std::string& name) const {
    at::Tensor experts = read_tensor(model_.at(fmt::format("layers.{}.moe.{}", layer, name)));
    if (name == "down") experts = experts.transpose(1, 2).contiguous();
    return {name, std::move(experts)};
  }

  void fit_layer(int layer) {
    tensors_.clear();
    layer_ = layer;
    if (latent_.share_gate_up_latent) {
      fit_projections(layer, {"gate", "up"});
    } else {
      if (latent_.factor_gate) fit_projections(layer, {"gate"});
      if (latent_.factor_up) fit_projections(layer, {"up"});
    }
    if (latent_.factor_down) fit_projections(layer, {"down"});
    progress_.update(layer + 1,
                     fmt::format("error {:.3f}", std::sqrt(squared_error_ / squared_norm_)));
  }

  void fit_projections(int layer, const std::vector<std::string>& names) {
    const auto start = Clock::now();
    std::vector<Projection> projections;
    for (const auto& name : names) projections.push_back(load(layer, name));
    std::vector<Factors> factors = method_.fit(projections, fit_);
    const double seconds = seconds_since(start) / static_cast<double>(names.size());
    for (std::size_t p = 0; p < names.size(); ++p) {
      Factors& f = factors[p];
      report_.projections.push_back(
          {layer, names[p], std::sqrt(f.squared_error / f.squared_norm), seconds});
      squared_error_ += f.squared_error;
      squared_norm_ += f.squared_norm;
      const bool is_down = names[p] == "down";
      if (materialise_) {
        const at::Tensor dense_EMD =
            f.left_EMR.matmul(f.right_GRD.repeat_interleave(fit_.group_size, 0));
        tensors_[names[p]] = is_down ? dense_EMD.transpose(1, 2) : dense_EMD;
      } else if (is_down) {
        tensors_["down"] = f.left_EMR.transpose(1, 2);
        tensors_["down_out"] = f.right_GRD.transpose(1, 2);
      } else {
        tensors_[names[p]] = f.left_EMR;
        tensors_[names.size() > 1 ? "gate_up_in" : names[p] + "_in"] = f.right_GRD;
      }
    }
  }

  const ModelFiles& model_;
  const LatentConfig latent_;
  const bool materialise_;
  const Method& method_;
  ConversionReport& report_;
  Progress progress_;
  FitOptions fit_;
  int layer_ = -1;
  std::map<std::string, at::Tensor> tensors_;
  double squared_error_ = 0, squared_norm_ = 0;
};

void check_convertible(const DecoderConfig& config, const fs::path& path) {
  if (!config.has_moe())
    fail(ErrorCode::kUnsupported,
         "{} has no experts: only a mixture-of-experts model can get latent experts",
         path.string());
  if (config.moe.latent.enabled())
    fail(ErrorCode::kUnsupported, "{} has latent experts already", path.string());
}

DecoderConfig with_latent(DecoderConfig config, const LatentConfig& latent) {
  config.origin = config.family;
  config.family = Family::kTalpa;
  config.moe.latent = latent;
  config.validate("");
  return config;
}

}  // namespace

LatentConfig chosen_latent(const DecoderConfig& config, const ConvertOptions& options) {
  LatentConfig latent = options.latent;
  if (latent.mixed || latent.basis_activation != BasisActivation::kNone)
    fail(ErrorCode::kUnsupported, "method {} finds linear latents, not mixed bases",
         options.method);
  if (latent.latent_dim > 0 && options.budget > 0)
    fail(ErrorCode::kUsage, "give a latent width or a budget, not both");
  if (latent.latent_dim == 0) {
    if (!(options.budget > 0 && options.budget < 1))
      fail(ErrorCode::kUsage, "give a latent width, or a budget between 0 and 1 (got {})",
           options.budget);
    const auto width = latent_dim_for_budget(config, latent, options.budget);
    if (!width)
      fail(ErrorCode::kConfig,
           "no latent width keeps the experts within {:.0f} % of their size with these factors; "
           "factor down as well, use larger groups or a larger budget",
           options.budget * 100);
    latent.latent_dim = *width;
  }
  const LatentOutlook outlook = latent_outlook(config, latent);
  if (!outlook.refusal.empty()) fail(ErrorCode::kConfig, "{}", outlook.refusal);
  return latent;
}

ConversionReport convert_to_latent(const ModelFiles& model, const fs::path& output,
                                   const ConvertOptions& options) {
  check_convertible(model.config, model.path);
  const auto start = Clock::now();
  ConversionReport report;
  report.method = options.method;
  report.latent = chosen_latent(model.config, options);

  const DecoderConfig latent_config = with_latent(model.config, report.latent);
  SaveOptions save;
  save.dtype = options.dtype;
  save.overwrite = options.overwrite;
  if (model.format == "hf") save.tokenizer_from = model.path;
  LayerConverter converter(model, report.latent, options, report);
  save_hf_directory(
      output, options.materialise ? model.config : latent_config,
      [&](const WeightSpec& spec, float* target) { converter.provide(spec, target); }, save);

  report.relative_error = std::sqrt(converter.squared_error() / converter.squared_norm());
  report.expert_params_before = account_of(model.config).expert_params;
  report.expert_params_after = account_of(latent_config).expert_params;
  report.expert_share = static_cast<double>(report.expert_params_after) /
                        static_cast<double>(report.expert_params_before);
  report.seconds = seconds_since(start);
  write_text(output / "conversion.json", report.to_json().dump(2) + "\n");
  return report;
}

Json ConversionReport::to_json() const {
  Json rows = Json::array();
  for (const auto& row : projections)
    rows.push_back({{"layer", row.layer},
                    {"projection", row.projection},
                    {"relative_error", row.relative_error},
                    {"seconds", row.seconds}});
  return {{"method", method},
          {"latent", config_to_json(latent)},
          {"relative_error", relative_error},
          {"expert_share", expert_share},
          {"expert_params_before", expert_params_before},
          {"expert_params_after", expert_params_after},
          {"seconds", seconds},
          {"projections", std::move(rows)}};
}

}  // namespace talpa::convert
