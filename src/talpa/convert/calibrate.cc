// N experts, M expert width, D model width.
#include "talpa/convert/calibrate.h"

#include <torch/torch.h>

#include "talpa/base/progress.h"
#include "talpa/base/random.h"
#include "talpa/base/stopwatch.h"
#include "talpa/convert/statistics_sum.h"
#include "talpa/format/safetensors_writer.h"

namespace talpa::convert {

namespace {

using Entry = SafetensorsWriter::Entry;

std::vector<int> moe_layers(const DecoderConfig& config) {
  std::vector<int> layers;
  for (int layer = 0; layer < config.num_layers; ++layer)
    if (config.is_moe_layer(layer)) layers.push_back(layer);
  return layers;
}

/// One layer's statistics by the names of the file.
std::vector<std::pair<std::string, at::Tensor>> named(const LayerStatistics& s, int layer) {
  const std::string prefix = fmt::format("layers.{}.", layer);
  return {{prefix + "rows", s.rows_N},
          {prefix + "mass", s.mass_N},
          {prefix + "mass2", s.mass2_N},
          {prefix + "output_mass", s.output_mass_N},
          {prefix + "mean_output", s.mean_output_ND},
          {prefix + "gate_effect", s.gate_effect_NM},
          {prefix + "up_effect", s.up_effect_NM},
          {prefix + "input_moments", s.input_moments},
          {prefix + "hidden_moments", s.hidden_moments}};
}

std::vector<Entry> entries_of(const std::vector<int>& layers, const LayerStatistics& like) {
  std::vector<Entry> entries;
  for (const int layer : layers)
    for (const auto& [name, tensor] : named(like, layer))
      entries.push_back({name, tensor.scalar_type() == torch::kLong ? DType::kI64 : DType::kF64,
                         tensor.sizes().vec()});
  return entries;
}

void write(SafetensorsWriter& writer, const LayerStatistics& statistics, int layer) {
  for (const auto& [name, tensor] : named(statistics, layer)) {
    const at::Tensor values = tensor.contiguous();
    writer.write(name, {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
}

void check(const ModelFiles& model, const std::filesystem::path& path,
           const CalibrateOptions& options) {
  if (!model.config.has_moe())
    fail(ErrorCode::kUnsupported, "{} has no experts to calibrate", model.path.string());
  if (model.config.moe.latent.enabled())
    fail(ErrorCode::kUnsupported, "{} has latent experts; calibrate the model it came from",
         model.path.string());
  if (std::filesystem::exists(path) && !options.overwrite)
    fail(ErrorCode::kUsage, "{} exists; --force replaces it", path.string());
}

StatisticsSum::Options sum_options(const DecoderConfig& config, std::int64_t tokens,
                                   const CalibrateOptions& options) {
  const auto experts = static_cast<std::uint64_t>(config.moe.num_experts);
  auto fits = [&](int width) {
    return experts * sizeof(double) * static_cast<std::uint64_t>(width) *
               static_cast<std::uint64_t>(width) <=
           options.moment_bytes;
  };
  return {.expert_inputs = fits(config.dim),
          .full_hidden = fits(config.moe.hidden_dim),
          .output_share = static_cast<double>(options.output_rows) / static_cast<double>(tokens)};
}

/// What follows sees states through norms: an error counts by its size beside the state's.
at::Tensor importance_of(const at::Tensor& states_TD, double norm_eps) {
  return states_TD.square().mean(1).add(norm_eps).rsqrt();
}

}  // namespace

std::vector<TokenSequence> sample_sequences(std::vector<TokenSequence> sequences,
                                            std::int64_t tokens, std::uint64_t seed) {
  Random random(seed, "calibration");
  for (std::size_t i = sequences.size(); i > 1; --i)
    std::swap(sequences[i - 1], sequences[random.below(i)]);
  std::vector<TokenSequence> chosen;
  std::int64_t left = tokens;
  for (TokenSequence& sequence : sequences) {
    if (left <= 0) break;
    if (sequence.empty()) continue;
    if (static_cast<std::int64_t>(sequence.size()) > left)
      sequence.resize(static_cast<std::size_t>(left));
    left -= static_cast<std::int64_t>(sequence.size());
    chosen.push_back(std::move(sequence));
  }
  return chosen;
}

CalibrationReport calibrate(const ModelFiles& model, std::vector<TokenSequence> sequences,
                            const std::filesystem::path& path, const CalibrateOptions& options) {
  check(model, path, options);
  const Stopwatch watch;
  const DecoderConfig& config = model.config;
  LayerStream stream(model, std::move(sequences), options.batch_tokens);
  const StatisticsSum::Options sums = sum_options(config, stream.num_tokens(), options);
  CalibrationReport report;
  report.expert_inputs = sums.expert_inputs;
  report.full_hidden = sums.full_hidden;
  report.layers = moe_layers(config);
  report.description = {.model = model.path.string(),
                        .digest = digest_of(model),
                        .text = options.text,
                        .tokens = stream.num_tokens(),
                        .context = options.context,
                        .seed = options.seed};
  SafetensorsWriter writer(
      path, entries_of(report.layers, StatisticsSum(config.moe, config.dim, sums).result()),
      {{kDescriptionKey, config_to_json(report.description).dump()}});
  Progress progress("calibrating", config.num_layers);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    StatisticsSum sum(config.moe, config.dim, sums);
    stream.advance([&](const at::Tensor& x_TD, const nn::Routing& routing, const nn::Scope& moe,
                       const at::Tensor& states_TD) {
      sum.add(x_TD, routing, moe, importance_of(states_TD, config.norm_eps));
    });
    progress.update(layer + 1);
    if (!config.is_moe_layer(layer)) continue;
    const LayerStatistics statistics = sum.result();
    const auto* rows = statistics.rows_N.const_data_ptr<std::int64_t>();
    report.rows_LN.emplace_back(rows, rows + statistics.num_experts());
    write(writer, statistics, layer);
  }
  writer.finish();
  report.seconds = watch.elapsed().wall;
  return report;
}

Json CalibrationReport::to_json() const {
  return {{"calibration", config_to_json(description)},
          {"expert_inputs", expert_inputs},
          {"full_hidden", full_hidden},
          {"layers", layers},
          {"rows", rows_LN},
          {"seconds", seconds}};
}

}  // namespace talpa::convert
