#include "talpa/eval/bench_setup.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "talpa/base/config.h"
#include "talpa/base/log.h"
#include "talpa/base/process_memory.h"
#include "talpa/base/stopwatch.h"
#include "talpa/eval/bench_report.h"
#include "talpa/eval/random_weights.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/model/accounting.h"

namespace talpa {

namespace {

/// The first `layers` layers of a description.
DecoderConfig cut_to(DecoderConfig config, int layers) {
  config.num_layers = layers;
  std::erase_if(config.moe.dense_layers, [layers](int layer) { return layer >= layers; });
  return config;
}

double held_bytes_of(const DecoderConfig& config, DType dtype) {
  return static_cast<double>(account_of(config).total_params) *
         static_cast<double>(bytes_of(dtype, 32)) / 32;
}

double held_bytes_of(std::span<const DecoderConfig> configs, std::span<const DType> dtypes) {
  double total = 0;
  for (const DecoderConfig& config : configs)
    for (const DType dtype : dtypes) total += held_bytes_of(config, dtype);
  return total;
}

/// "; --layers 12 would fit", or nothing.
std::string layers_hint(std::span<const DecoderConfig> configs, std::span<const DType> dtypes,
                        double allowed) {
  for (int layers = configs[0].num_layers - 1; layers > 0; --layers) {
    std::vector<DecoderConfig> shorter;
    for (const DecoderConfig& config : configs) shorter.push_back(cut_to(config, layers));
    if (held_bytes_of(shorter, dtypes) <= allowed)
      return fmt::format("; --layers {} would fit", layers);
  }
  return {};
}

[[noreturn]] void fail_memory(const std::string& name, double needed, std::uint64_t memory,
                              const std::string& hint) {
  fail(ErrorCode::kUnsupported, "{}: weights need {:.1f} GB, and only {:.1f} GB are free{}", name,
       needed * 1e-9, static_cast<double>(memory) * 1e-9, hint);
}

}  // namespace

DecoderConfig published_config(const std::string& name, int layers) {
  std::vector<std::string> names;
  for (const PublishedModel& model : published_models()) {
    names.push_back(model.name);
    if (model.name != name) continue;
    if (layers > model.config.num_layers)
      fail(ErrorCode::kUsage, "--layers {}: {} has {}", layers, name, model.config.num_layers);
    if (layers == 0) return model.config;
    const DecoderConfig cut = cut_to(model.config, layers);
    if (static_cast<int>(cut.moe.dense_layers.size()) == layers)
      log::warn("the first {} layers of {} have no experts", layers, name);
    return cut;
  }
  const std::string near = nearest_name(name, names);
  fail(ErrorCode::kUsage, "--config {}: no such published model{}; known are {}", name,
       near.empty() ? "" : fmt::format(", did you mean {}", near), fmt::join(names, ", "));
}

void ModelSet::add(std::string name, const ModelFiles& files, const EngineOptions& options,
                   bool is_stored) {
  const MemoryWatch memory;
  const Stopwatch watch;
  models.push_back(Model::load(files, options));
  const Model& model = *models.back();
  const LoadCost load{.seconds = watch.elapsed().wall,
                      .stored_bytes = files.store->total_bytes(),
                      .packed_bytes = model.weight_bytes(),
                      .peak_anonymous_bytes = memory.peak()};
  const DType held = held_type(files.at("layers.0.attn.q").dtype(), options.weights);
  benched.push_back({.name = std::move(name),
                     .held = held,
                     .model = models.back().get(),
                     .load = is_stored ? std::optional(load) : std::nullopt});
}

ModelSet random_models(const std::string& name, std::span<const DecoderConfig> configs,
                       std::span<const DType> dtypes, EngineOptions engine, std::uint64_t memory) {
  const double needed = held_bytes_of(configs, dtypes);
  if (needed > static_cast<double>(memory))
    fail_memory(name, needed, memory, layers_hint(configs, dtypes, static_cast<double>(memory)));
  ModelSet set;
  for (const DType dtype : dtypes)
    for (const DecoderConfig& config : configs) {
      const std::string experts =
          configs.size() > 1 ? ", " + describe_experts(config.moe.latent, config.moe.num_experts)
                             : "";
      EngineOptions options = engine;
      options.weights = dtype;
      const bool is_latent = config.has_moe() && config.moe.latent.enabled();
      if (is_latent && options.experts == ExpertForm::kAuto) options.experts = ExpertForm::kLatent;
      if (!is_latent) options.experts = ExpertForm::kAuto;
      set.add(fmt::format("{}, {} layers{}", name, config.num_layers, experts),
              random_model_files(config, 1), options, false);
    }
  return set;
}

ModelSet stored_models(const std::filesystem::path& path, std::span<const DType> dtypes,
                       EngineOptions engine, std::uint64_t memory) {
  const ModelFiles files = open_model(path);
  const auto stored = static_cast<double>(files.store->total_bytes());
  const double needed =
      dtypes.empty() ? stored : held_bytes_of(std::span(&files.config, 1), dtypes);
  if (needed > static_cast<double>(memory))
    fail_memory(path.string(), needed, memory, "; --layer times one layer of it");
  std::filesystem::path name = std::filesystem::absolute(path).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  ModelSet set;
  if (dtypes.empty()) set.add(name.filename().string(), files, engine);
  for (const DType dtype : dtypes) {
    engine.weights = dtype;
    set.add(name.filename().string(), files, engine);
  }
  return set;
}

}  // namespace talpa
