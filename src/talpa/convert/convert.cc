// N experts, M expert width, D model width.
#include "talpa/convert/convert.h"

#include <fmt/ranges.h>
#include <torch/torch.h>

#include <cmath>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/stopwatch.h"
#include "talpa/convert/calibration.h"
#include "talpa/convert/fit_store.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/convert/rounded_layer.h"
#include "talpa/convert/widths.h"
#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"
#include "talpa/nn/moe/latent_experts.h"

namespace talpa::convert {

namespace fs = std::filesystem;

namespace {

void copy_to(const at::Tensor& values, const WeightSpec& spec, float* target) {
  if (values.sizes().vec() != spec.shape)
    fail(ErrorCode::kInternal, "{} has shape {}, expected {}", spec.name,
         to_string(values.sizes().vec()), to_string(spec.shape));
  at::from_blob(target, spec.shape, at::kFloat).copy_(values);
}

double ratio(double error, double norm) { return norm > 0 ? std::sqrt(error / norm) : 0; }

std::optional<Calibration> opened_calibration(const ModelFiles& model,
                                              const ConvertOptions& options, const Method& method) {
  if (options.calibration.empty() && method.needs_statistics())
    fail(ErrorCode::kUsage,
         "method {} needs what the experts see: make it with talpa calibrate and pass it with "
         "--calibration",
         method.name());
  if (options.calibration.empty()) return std::nullopt;
  Calibration calibration = Calibration::open(options.calibration);
  calibration.check_made_for(model);
  return calibration;
}

/// Converts one layer at a time, as the writer asks for its tensors.
class LayerConverter {
  /// Calls work(experts, context) for a layer.
  template <class Work>
  auto with_experts(int layer, Work work) const {
    std::optional<LayerStatistics> statistics;
    if (calibration_) statistics = calibration_->layer(layer, model_.config);
    const LayerExperts experts(model_, layer, statistics ? &*statistics : nullptr);
    FitContext context{.options = options_, .scratch = store_.folder(layer)};
    context.progress = [this, layer](double done, const std::string& note) {
      if (options_.cancelled != nullptr && *options_.cancelled)
        fail(ErrorCode::kInterrupted, "interrupted in layer {}{}", layer,
             options_.scratch.empty() ? "" : "; the same command goes on from its --scratch");
      if (progress_) show(layer, done, note);
    };
    return work(experts, context);
  }

 public:
  /// With one size everywhere, as the method planned it.
  LayerConverter(const ModelFiles& model, const DecoderConfig& planned,
                 const ConvertOptions& options, ConversionReport& report)
      : model_(model),
        target_(planned),
        options_(options),
        method_(method_named(options.method)),
        report_(report),
        calibration_(opened_calibration(model, options, method_)),
        store_(options.scratch, model, planned, options, calibration_ ? calibration_->key() : "") {}

  const DecoderConfig& target() const { return target_; }

  /// Gives what the target takes to layers anew, by their spectra.
  void allocate(const WidthBudget& budget) {
    target_.moe.latent = budget.give(spectra());
    target_.validate("");
  }

  /// Seconds that the layers which are not in the store will take. Time grows with a layer's size
  /// in a straight line: the one next to the mean stands for all.
  double estimate() const {
    std::map<int, double> left;  // size by layer
    double mean = 0;
    for (int layer = 0; layer < target_.num_layers; ++layer) {
      if (!model_.config.is_moe_layer(layer) || store_.has(layer)) continue;
      left[layer] = static_cast<double>(account_of(one_layer(layer)).expert_params);
      mean += left[layer];
    }
    if (left.empty()) return 0;
    const auto count = static_cast<double>(left.size());
    mean /= count;
    const auto typical =
        std::min_element(left.begin(), left.end(), [&](const auto& a, const auto& b) {
          return std::abs(a.second - mean) < std::abs(b.second - mean);
        });
    return count * with_experts(typical->first,
                                [&](const LayerExperts& experts, const FitContext& context) {
                                  return method_.estimate_seconds(experts, target_, context);
                                });
  }

  void start(const std::string& what) {
    progress_.emplace(fmt::format("{} ({})", what, method_.name()), 1000);
  }

  /// The bytes of a tensor that was rounded, or false.
  bool encoded(const WeightSpec& spec, DType dtype, std::span<std::byte> target) {
    const auto [layer, part] = routed_part(spec.name);
    if (layer < 0) return copy_stored(model_.at(spec.name), dtype, target);
    if (layer != layer_) fit_layer(layer);
    const auto found = encoded_.find(part);
    if (found == encoded_.end()) return false;
    if (found->second.size() != target.size())
      fail(ErrorCode::kInternal, "{} takes {} bytes, expected {}", spec.name, found->second.size(),
           target.size());
    std::copy(found->second.begin(), found->second.end(), target.begin());
    return true;
  }

  void provide(const WeightSpec& spec, float* target) {
    const auto [layer, part] = routed_part(spec.name);
    if (layer >= 0 && layer != layer_) fit_layer(layer);
    const auto found = layer >= 0 ? fit_.tensors.find(part) : fit_.tensors.end();
    if (found != fit_.tensors.end())
      copy_to(found->second, spec, target);
    else
      model_.at(spec.name).read(target);
  }

 private:
  /// Of every layer; undefined for those without experts.
  std::vector<LayerSpectra> spectra() {
    start("reading spectra");
    std::vector<LayerSpectra> all(static_cast<std::size_t>(target_.num_layers));
    for (int layer = 0; layer < target_.num_layers; ++layer) {
      if (!model_.config.is_moe_layer(layer)) continue;
      auto spectra = store_.load_spectra(layer);
      if (!spectra) {
        spectra = with_experts(layer, [&](const LayerExperts& experts, const FitContext& context) {
          context.progress(0, {});
          return method_.spectra(experts, target_, context);
        });
        store_.save_spectra(layer, *spectra);
      }
      all[static_cast<std::size_t>(layer)] = std::move(*spectra);
    }
    progress_.reset();
    return all;
  }

  void show(int layer, double done, const std::string& note) const {
    progress_->update(
        static_cast<std::int64_t>((layer + done) * 1000 / target_.num_layers),
        note.empty() ? fmt::format("layer {}", layer) : fmt::format("layer {}, {}", layer, note));
  }

  void fit_layer(int layer) {
    fit_ = {};
    layer_ = layer;
    if (auto done = store_.load(layer)) {
      fit_ = std::move(*done);
    } else {
      fit_ = with_experts(layer, [&](const LayerExperts& experts, const FitContext& context) {
        return method_.fit(experts, target_, context);
      });
      store_.save(layer, fit_);
    }
    report_.expert_params_after +=
        fit_.expert_params > 0 ? fit_.expert_params : account_of(one_layer(layer)).expert_params;
    if (options_.materialise) materialise_fit(layer);
    if (options_.gguf) round_fit(layer);
    if (model_.config.moe.selection_bias && !fit_.order.empty())
      fit_.tensors["router_bias"] =
          read_tensor(model_.at(fmt::format("layers.{}.moe.router_bias", layer)))
              .index_select(0, torch::tensor(fit_.order, torch::kLong));
    for (const ProjectionFit& fit : fit_.projections) report_.projections.push_back({layer, fit});
    if (options_.on_layer) options_.on_layer(layer, fit_.projections);
  }

  /// Rounds a fit to the file's types; what a file repeats or multiplies out counts once.
  void round_fit(int layer) {
    const LatentConfig dense;
    const auto before = fit_.projections;
    encoded_ = with_experts(layer, [&](const LayerExperts& experts, const FitContext&) {
      return round_layer(experts, options_.materialise ? dense : target_.moe.latent.of_layer(layer),
                         options_.gguf->of_layer(layer), fit_);
    });
    for (ProjectionFit& fit : fit_.projections)
      for (const ProjectionFit& fitted : before)
        if (fitted.side == fit.side) fit.seconds += fitted.seconds;
    report_.expert_bytes +=
        fit_.expert_params > 0
            ? static_cast<std::int64_t>(bytes_of(options_.gguf->of_layer(layer).gate,
                                                 static_cast<std::uint64_t>(fit_.expert_params)))
            : expert_bytes_by_layer(options_.materialise && target_.moe.latent.enabled()
                                        ? materialised_config(target_)
                                        : target_,
                                    *options_.gguf)[static_cast<std::size_t>(layer)];
  }

  /// The target with this layer alone, which is an MoE layer.
  DecoderConfig one_layer(int layer) const {
    DecoderConfig config = target_;
    config.num_layers = 1;
    config.moe.latent = target_.moe.latent.of_layer(layer);
    config.moe.dense_layers.clear();
    return config;
  }

  /// Replaces the factors of a fit by the dense experts that they stand for.
  void materialise_fit(int layer) {
    if (!target_.moe.latent.enabled()) return;
    const LatentConfig& latent = target_.moe.latent;
    nn::Parameters parameters = std::move(fit_.tensors);
    for (auto& [name, tensor] : parameters) tensor = tensor.to(torch::kFloat).contiguous();
    fit_.tensors.clear();
    if (parameters.contains("router")) fit_.tensors["router"] = parameters["router"];
    for (const Side side : kSides)
      if (!parameters.contains(enum_name(side)))
        parameters[enum_name(side)] =
            LayerExperts(model_, layer).read(side).transpose(1, side == Side::kDown ? 2 : 1);
    const nn::MaterializedExperts dense = nn::materialize(nn::Scope(parameters), latent);
    fit_.tensors["gate"] = dense.gate_NMD;
    fit_.tensors["up"] = dense.up_NMD;
    fit_.tensors["down"] = dense.down_NDM;
  }

  const ModelFiles& model_;
  DecoderConfig target_;
  const ConvertOptions& options_;
  const Method& method_;
  ConversionReport& report_;
  std::optional<Calibration> calibration_;
  FitStore store_;
  mutable std::optional<Progress> progress_;
  int layer_ = -1;
  LayerFit fit_;
  EncodedTensors encoded_;
};

void check_convertible(const DecoderConfig& config, const fs::path& path) {
  if (!config.has_moe())
    fail(ErrorCode::kUnsupported,
         "{} has no experts: only a mixture-of-experts model can be converted", path.string());
  if (config.moe.latent.enabled())
    fail(ErrorCode::kUnsupported, "{} has latent experts already", path.string());
}

void check_bits(const ConvertOptions& options, const std::string& method) {
  if (!options.gguf) fail(ErrorCode::kUsage, "bits are of the types of a GGUF: name OUT .gguf");
  if (options.budget > 0 || options.latent.latent_dim > 0 || options.num_experts > 0)
    fail(ErrorCode::kUsage, "bits decide the sizes: give no budget, width or number of experts");
  if (options.materialise)
    fail(ErrorCode::kUsage, "bits are of latent experts: they do not hold when written out");
  if (method == "none" || method == "delta" || method.starts_with("slbf"))
    fail(ErrorCode::kUsage, "method {} takes no bits", method);
}

void check_options(const Method& method, const ConvertOptions& options) {
  if (!method.is_iterative() &&
      (options.steps > 0 || options.learning_rate > 0 || options.weighted))
    fail(ErrorCode::kUsage,
         "method {} is no iterative one: it takes no steps, learning rate or "
         "weighting",
         method.name());
  if (options.weighted && options.calibration.empty())
    fail(ErrorCode::kUsage, "a weighted fit needs a calibration");
  const std::string name = method.name();
  if (options.num_experts > 0 && name != "prune" && name != "merge")
    fail(ErrorCode::kUsage, "method {} keeps all experts: it takes no number of them", name);
  if (options.reduce_rank != 0 && name != "svd")
    fail(ErrorCode::kUsage, "method {} has no first phase to reduce ranks in", name);
  if (!(options.budget >= 0))
    fail(ErrorCode::kUsage, "budget {} is negative or no number", options.budget);
  if (!(options.bits >= 0))
    fail(ErrorCode::kUsage, "bits {} are negative or no number", options.bits);
  if (options.bits > 0) check_bits(options, name);
}

void sum_up(ConversionReport& report, const DecoderConfig& original,
            const ConvertOptions& options) {
  double error = 0, norm = 0, weighted_error = 0, weighted_norm = 0;
  for (const auto& [layer, fit] : report.projections) {
    error += fit.squared_error;
    norm += fit.squared_norm;
    weighted_error += fit.weighted_error.value_or(0);
    weighted_norm += fit.weighted_norm.value_or(0);
  }
  report.relative_error = ratio(error, norm);
  if (weighted_norm > 0) report.weighted_error = ratio(weighted_error, weighted_norm);
  report.expert_params_before = account_of(original).expert_params;
  report.expert_share = static_cast<double>(report.expert_params_after) /
                        static_cast<double>(report.expert_params_before);
  if (!options.gguf)
    report.expert_bytes = static_cast<std::int64_t>(
        bytes_of(options.dtype, static_cast<std::uint64_t>(report.expert_params_after)));
}

void write_model(const ModelFiles& model, const fs::path& output, const DecoderConfig& config,
                 const ConvertOptions& options, LayerConverter& converter) {
  const WeightProvider provider = [&](const WeightSpec& spec, float* values) {
    converter.provide(spec, values);
  };
  const fs::path tokenizer = model.format == "hf" ? model.path : fs::path();
  if (!options.gguf) {
    save_hf_directory(output, config, provider,
                      {.dtype = options.dtype,
                       .overwrite = options.overwrite,
                       .tokenizer_from = tokenizer,
                       .metadata = {}});
    return;
  }
  GgufSaveOptions save;
  save.dtype = options.gguf->dtype;
  save.type_of = [&](const WeightSpec& spec) -> std::optional<DType> {
    const auto [layer, part] = routed_part(spec.name);
    if (layer < 0 || is_router_part(part)) return std::nullopt;
    return type_of_part(options.gguf->of_layer(layer), part);
  };
  save.overwrite = options.overwrite;
  save.tokenizer_from = tokenizer_folder(model);
  save.encoded = [&](const WeightSpec& spec, DType dtype, std::span<std::byte> target) {
    return converter.encoded(spec, dtype, target);
  };
  save_gguf(output, config, provider, save);
}

}  // namespace

ConversionReport convert_model(const ModelFiles& model, const fs::path& output,
                               const ConvertOptions& options) {
  check_convertible(model.config, model.path);
  const Stopwatch watch;
  const Method& method = method_named(options.method);
  check_options(method, options);
  ConversionReport report;
  report.method = options.method;
  const DecoderConfig planned = method.plan(model.config, options);
  std::optional<WidthBudget> budget;  // refuses before a scratch folder is made
  if (options.allocate) budget.emplace(model.config, planned, method, options);
  LayerConverter converter(model, planned, options, report);
  const Stopwatch allocating;
  if (budget) converter.allocate(*budget);
  const double allocated_in = budget ? allocating.elapsed().wall : 0;
  const DecoderConfig& target = converter.target();
  report.latent = target.moe.latent;
  report.num_experts = target.moe.num_experts;

  const Stopwatch estimating;
  const double ahead = converter.estimate();
  const double estimated_in = estimating.elapsed().wall;
  report.estimated_seconds = allocated_in + ahead;
  log::info("{}: about {}", options.method, format_duration(ahead));
  converter.start("converting");
  const bool dense = options.materialise && target.moe.latent.enabled();
  write_model(model, output, dense ? materialised_config(target) : target, options, converter);

  sum_up(report, model.config, options);
  report.seconds = watch.elapsed().wall - estimated_in;
  write_text(options.gguf ? fs::path(output.string() + ".json") : output / "conversion.json",
             report.to_json().dump(2) + "\n");
  return report;
}

bool copy_stored(const Weight& weight, DType dtype, std::span<std::byte> target) {
  if (weight.dtype() != dtype) return false;
  weight.read_rows(0, num_elements(weight.shape) / weight.shape.back(), target.data());
  return true;
}

fs::path tokenizer_folder(const ModelFiles& model) {
  const bool has_one = model.format == "hf" && fs::exists(model.path / "tokenizer.json");
  if (!has_one) log::warn("{} has no tokenizer.json: the GGUF gets none", model.path.string());
  return has_one ? model.path : fs::path();
}

Json ConversionReport::to_json() const {
  Json rows = Json::array();
  for (const auto& [layer, fit] : projections) {
    rows.push_back({{"layer", layer},
                    {"projection", enum_name(fit.side)},
                    {"relative_error", ratio(fit.squared_error, fit.squared_norm)},
                    {"seconds", fit.seconds}});
    if (fit.weighted_error)
      rows.back()["weighted_error"] = ratio(*fit.weighted_error, *fit.weighted_norm);
  }
  Json json = {{"method", method},
               {"latent", config_to_json(latent)},
               {"num_experts", num_experts},
               {"relative_error", relative_error},
               {"expert_share", expert_share},
               {"expert_params_before", expert_params_before},
               {"expert_params_after", expert_params_after},
               {"expert_bytes", expert_bytes},
               {"seconds", seconds},
               {"estimated_seconds", estimated_seconds},
               {"projections", std::move(rows)}};
  if (weighted_error) json["weighted_error"] = *weighted_error;
  if (refit) json["refit"] = refit->to_json();
  return json;
}

}  // namespace talpa::convert
