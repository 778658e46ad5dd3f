#include "talpa/search/auto_convert.h"

#include <algorithm>
#include <cmath>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/stopwatch.h"
#include "talpa/base/temporary_folder.h"
#include "talpa/engine/model.h"
#include "talpa/model/accounting.h"
#include "talpa/search/allocate.h"
#include "talpa/search/candidates.h"

namespace talpa::search {

namespace fs = std::filesystem;

namespace {

/// Before a conversion is judged by its layers.
constexpr int kLayersToJudge = 3;

struct Hopeless {
  int layers;
  double error_ratio;
};

double error_of(const std::vector<convert::ProjectionFit>& projections) {
  double sum = 0;
  for (const auto& fit : projections) sum += fit.weighted_error.value_or(fit.squared_error);
  return sum;
}

/// A candidate's errors layer by layer, beside the least so far.
class LayerErrors {
 public:
  explicit LayerErrors(const std::vector<double>& least) : least_(least) {}

  /// Throws Hopeless.
  void add(const std::vector<convert::ProjectionFit>& projections) {
    errors_.push_back(error_of(projections));
    sum_ += errors_.back();
    if (least_.empty()) return;
    least_sum_ += least_.at(errors_.size() - 1);
    if (static_cast<int>(errors_.size()) >= kLayersToJudge && ratio() > kHopeless)
      throw Hopeless{static_cast<int>(errors_.size()), ratio()};
  }
  const std::vector<double>& errors() const { return errors_; }
  double ratio() const { return least_sum_ > 0 ? sum_ / least_sum_ : 1; }

 private:
  const std::vector<double>& least_;
  std::vector<double> errors_;
  double sum_ = 0, least_sum_ = 0;
};

/// Converts, scores and keeps the best file.
class Search {
 public:
  Search(const LoadedModel& original, const fs::path& output, const ScoringText& text,
         const SearchOptions& options)
      : base_(original),
        model_(original.files),
        output_(output),
        folder_(output, ".search"),
        text_(text),
        options_(options) {}

  SearchReport run() {
    const Stopwatch watch;
    auto list = candidates(model_.config, options_.convert);
    if (auto mixed = types_within_bits()) list.push_back(std::move(*mixed));
    if (list.empty())
      fail(ErrorCode::kConfig, "nothing keeps the experts within {:.3g} bits a parameter",
           options_.convert.bits);
    for (const Candidate& candidate : list) try_out(candidate);
    if (report_.trials.empty())
      fail(ErrorCode::kConfig, "no conversion keeps the experts within {:.3g} bits a parameter",
           options_.convert.bits);
    std::stable_sort(
        report_.trials.begin(), report_.trials.end(),
        [](const Trial& a, const Trial& b) { return a.divergence.kl_mean < b.divergence.kl_mean; });
    fs::rename(folder_ / "best.gguf", output_);
    report_.seconds = watch.elapsed().wall;
    return std::move(report_);
  }

 private:
  /// Converts to `path`.
  convert::ConversionReport convert_to(const fs::path& path,
                                       convert::ConvertOptions options) const {
    if (options_.cancelled != nullptr && *options_.cancelled)
      fail(ErrorCode::kInterrupted, "interrupted");
    options.scratch.clear();
    options.cancelled = options_.cancelled;
    options.overwrite = true;
    return convert::convert_model(model_, path, options);
  }

  Divergence divergence_of(const fs::path& path) {
    LoadedModel other = load_model(path, {.threads = options_.threads});
    Model* models[] = {base_.model.get(), other.model.get()};
    ScoreOptions score;
    score.cancelled = options_.cancelled;
    return score_against_base(models, text_, score)[1].divergence;
  }

  /// A candidate that fails is left out with a word.
  void try_out(const Candidate& candidate) {
    const Stopwatch watch;
    try {
      consider(candidate);
    } catch (const Hopeless& hopeless) {
      log::info("{}: given up after {} layers, their error {:.1f} times the least so far",
                candidate.name, hopeless.layers, hopeless.error_ratio);
      report_.given_up.push_back(
          {candidate.name, hopeless.layers, hopeless.error_ratio, watch.elapsed().wall});
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kInterrupted) throw;
      log::warn("{}: {}", candidate.name, error.what());
    }
  }

  double most_bytes() const {
    return options_.convert.bits / 8 * static_cast<double>(account_of(model_.config).expert_params);
  }

  void consider(const Candidate& candidate) {
    const fs::path path = folder_ / "candidate.gguf";
    const Stopwatch watch;
    LayerErrors errors(least_errors_);
    convert::ConvertOptions options = candidate.options;
    options.on_layer = [&](int, const auto& projections) { errors.add(projections); };
    const auto report = convert_to(path, options);
    Trial trial{.name = candidate.name,
                .expert_bytes = report.expert_bytes,
                .weight_error = report.relative_error,
                .divergence = {},
                .seconds = watch.elapsed().wall};
    if (static_cast<double>(trial.expert_bytes) > most_bytes() * (1 + 1e-9)) {
      log::info("{}: {} bytes of experts are too many", trial.name, trial.expert_bytes);
      return;
    }
    trial.divergence = divergence_of(path);
    log::info("{}: {:.3g} MB, KL {:.5f}", trial.name, static_cast<double>(trial.expert_bytes) / 1e6,
              trial.divergence.kl_mean);
    log::debug("{}: error {:.2f} times the least", trial.name, errors.ratio());
    const double kl = trial.divergence.kl_mean;
    if (!std::isfinite(kl)) fail(ErrorCode::kInternal, "its predictions are not finite");
    if (report_.trials.empty() || kl < best_) {
      best_ = kl;
      least_errors_ = errors.errors();
      fs::rename(path, folder_ / "best.gguf");
    }
    report_.trials.push_back(std::move(trial));
  }

  /// KL divergence that a layer's experts at two bits cause, the others being as they were: those
  /// are copied, so one layer's rounding is all that it takes.
  double layer_divergence(int layer) {
    convert::ConvertOptions options = options_.convert;
    options.method = "none";
    options.bits = 0;
    options.gguf = uniform_types(options.gguf->dtype, DType::kF16, DType::kF16);
    options.gguf->experts.resize(static_cast<std::size_t>(model_.config.num_layers),
                                 options.gguf->experts[0]);
    options.gguf->experts[static_cast<std::size_t>(layer)] =
        uniform_types(DType::kF16, DType::kQ2_0, DType::kQ2_0).experts[0];
    const fs::path path = folder_ / "probe.gguf";
    convert_to(path, options);
    return divergence_of(path).kl_mean;
  }

  /// KL divergence that an error of one in this layer causes, up to a factor that all layers share;
  /// `coarse` is the layer's error at two bits. Weighted errors are in one unit already.
  double price_of(int layer, double coarse) {
    if (!options_.convert.calibration.empty()) return 1;
    return coarse > 0 ? layer_divergence(layer) / coarse : 0;
  }

  /// Errors of all layers' projections at a type: [layer][side].
  std::vector<std::vector<double>> errors_at(DType type) const {
    convert::ConvertOptions options = options_.convert;
    options.method = "none";
    options.bits = 0;
    options.gguf = uniform_types(options.gguf->dtype, type, type);
    std::vector<std::vector<double>> errors(static_cast<std::size_t>(model_.config.num_layers));
    for (const auto& [layer, fit] : convert_to(folder_ / "probe.gguf", options).projections)
      errors[static_cast<std::size_t>(layer)].push_back(
          fit.weighted_error.value_or(fit.squared_error));
    return errors;
  }

  std::optional<Candidate> types_within_bits() {
    try {
      return mixed_types();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kConfig) throw;
      return std::nullopt;  // even the smallest types take more
    }
  }

  /// Rounding alone, with a type for each layer and projection.
  std::optional<Candidate> mixed_types() {
    const auto largest = uniform_types(DType::kQ8_0, DType::kQ8_0, DType::kQ8_0);
    if (static_cast<double>(convert::expert_bytes_in_file(model_.config, largest)) <= most_bytes())
      return std::nullopt;  // nothing to choose
    std::vector<std::vector<std::vector<double>>> errors;
    for (const DType type : kTypes) errors.push_back(errors_at(type));
    std::vector<std::vector<Choice>> items;
    std::vector<int> layers;
    for (int layer = 0; layer < model_.config.num_layers; ++layer) {
      if (!model_.config.is_moe_layer(layer)) continue;
      const auto at = static_cast<std::size_t>(layer);
      double coarse = 0;
      for (const double error : errors.back()[at]) coarse += error;
      const double price = price_of(layer, coarse);
      for (std::size_t side = 0; side < errors.back()[at].size(); ++side) {
        items.emplace_back();
        for (std::size_t t = 0; t < std::size(kTypes); ++t)
          items.back().push_back({.type = kTypes[t],
                                  .bytes = side_bytes(kTypes[t], /*down=*/side == 2),
                                  .cost = price * errors[t][at][side]});
      }
      layers.push_back(layer);
    }
    return candidate_of(items, layers);
  }

  /// Of one projection of one layer.
  std::int64_t side_bytes(DType type, bool down) const {
    const std::int64_t n = model_.config.dim, m = model_.config.moe.hidden_dim;
    const DType stored = convert::type_in_file(type, down ? m : n);
    return static_cast<std::int64_t>(
        bytes_of(stored, static_cast<std::uint64_t>(model_.config.moe.num_experts * m * n)));
  }

  Candidate candidate_of(const std::vector<std::vector<Choice>>& items,
                         const std::vector<int>& layers) const {
    const auto picked = allocate(items, static_cast<std::int64_t>(most_bytes()));
    Candidate candidate{"types by layer and projection", options_.convert};
    candidate.options.method = "none";
    candidate.options.bits = 0;
    auto& experts = candidate.options.gguf->experts;
    experts.assign(static_cast<std::size_t>(model_.config.num_layers), {});
    for (std::size_t i = 0; i < layers.size(); ++i) {
      auto type = [&](std::size_t side) { return items[3 * i + side][picked[3 * i + side]].type; };
      experts[static_cast<std::size_t>(layers[i])] = {
          .gate = type(0), .up = type(1), .down = type(2), .shared = type(0)};
    }
    return candidate;
  }

  const LoadedModel& base_;
  const ModelFiles& model_;
  const fs::path output_;
  const TemporaryFolder folder_;
  const ScoringText& text_;
  const SearchOptions& options_;
  double best_ = 0;
  std::vector<double> least_errors_;  ///< of the best so far, layer by layer
  SearchReport report_;
};

}  // namespace

SearchReport convert_best(const LoadedModel& original, const fs::path& output,
                          const ScoringText& text, const SearchOptions& options) {
  const ModelFiles& model = original.files;
  if (!options.convert.gguf || !(options.convert.bits > 0))
    fail(ErrorCode::kUsage, "method auto chooses types too: give --bits and a GGUF as OUT");
  if (options.convert.materialise)
    fail(ErrorCode::kUsage, "method auto counts latent experts' bytes: nothing is written out");
  if (!model.config.has_moe() || model.config.moe.latent.enabled())
    fail(ErrorCode::kUnsupported, "{} has no dense experts to convert", model.path.string());
  if (fs::exists(output) && !options.convert.overwrite)
    fail(ErrorCode::kUsage, "{} exists already", output.string());
  SearchReport report = Search(original, output, text, options).run();
  write_text(output.string() + ".json", report.to_json().dump(2) + "\n");
  return report;
}

Json SearchReport::to_json() const {
  Json rows = Json::array();
  for (const Trial& trial : trials)
    rows.push_back({{"name", trial.name},
                    {"expert_bytes", trial.expert_bytes},
                    {"relative_error", trial.weight_error},
                    {"kl_mean", trial.divergence.kl_mean},
                    {"kl_error", trial.divergence.kl_error},
                    {"ln_ratio", trial.divergence.ln_ratio},
                    {"ln_ratio_error", trial.divergence.ln_ratio_error},
                    {"seconds", trial.seconds}});
  Json left = Json::array();
  for (const GivenUp& candidate : given_up)
    left.push_back({{"name", candidate.name},
                    {"layers", candidate.layers},
                    {"error_ratio", candidate.error_ratio},
                    {"seconds", candidate.seconds}});
  return {{"method", "auto"},
          {"chosen", trials.front().name},
          {"expert_bytes", trials.front().expert_bytes},
          {"seconds", seconds},
          {"trials", std::move(rows)},
          {"given_up", std::move(left)}};
}

}  // namespace talpa::search
