#include "talpa/convert/fit_store.h"

#include <torch/torch.h>

#include "talpa/base/file.h"
#include "talpa/convert/calibration.h"
#include "talpa/convert/method.h"
#include "talpa/convert/tensor_file.h"
#include "talpa/format/safetensors_writer.h"

namespace talpa::convert {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFile = "fit.safetensors";
constexpr const char* kReport = "fit.json";
constexpr const char* kSpectra = "spectra.safetensors";

/// What decides the fit of a layer.
Json key_of(const ModelFiles& model, const DecoderConfig& target, const ConvertOptions& options,
            const std::string& calibration_key) {
  Json types;  // bases are fitted for what experts' own matrices will be rounded to
  if (options.gguf && method_named(options.method).is_iterative())
    for (const ExpertTypes& layer : options.gguf->experts)
      types.push_back({name_of(layer.gate), name_of(layer.up), name_of(layer.down)});
  Json key = {{"model", digest_of(model)},
              {"method", options.method},
              {"latent", config_to_json(target.moe.latent)},
              {"num_experts", target.moe.num_experts},
              // Of methods whose result the target does not describe.
              {"asked", {options.num_experts, options.bits, config_to_json(options.latent)}},
              {"budget", options.budget},
              {"reduce_rank", options.reduce_rank},
              {"group_by", enum_name(options.group_by)},
              {"calibration", calibration_key},
              {"refine", options.refine},
              {"steps", options.steps},
              {"learning_rate", options.learning_rate},
              {"weighted", options.weighted},
              {"seed", options.seed},
              {"dtype", name_of(options.dtype)},
              {"materialise", options.materialise},
              {"types", types}};
  if (options.allocate) key["allocate"] = true;
  return key;
}

Json to_json(const ProjectionFit& fit) {
  Json json = {{"side", enum_name(fit.side)},
               {"squared_error", fit.squared_error},
               {"squared_norm", fit.squared_norm},
               {"seconds", fit.seconds}};
  if (fit.weighted_error) json["weighted_error"] = *fit.weighted_error;
  if (fit.weighted_norm) json["weighted_norm"] = *fit.weighted_norm;
  return json;
}

ProjectionFit projection_from(const Json& json) {
  ProjectionFit fit;
  read_config(json.at("side"), fit.side, "side");
  fit.squared_error = json.at("squared_error").get<double>();
  fit.squared_norm = json.at("squared_norm").get<double>();
  fit.seconds = json.at("seconds").get<double>();
  if (json.contains("weighted_error")) fit.weighted_error = json.at("weighted_error").get<double>();
  if (json.contains("weighted_norm")) fit.weighted_norm = json.at("weighted_norm").get<double>();
  return fit;
}

}  // namespace

FitStore::FitStore(const fs::path& path, const ModelFiles& model, const DecoderConfig& target,
                   const ConvertOptions& options, const std::string& calibration_key)
    : path_(path) {
  if (path_.empty()) return;
  const Json key = key_of(model, target, options, calibration_key);
  const fs::path file = path_ / "conversion-key.json";
  if (fs::exists(file)) {
    if (read_json(file) != key)
      fail(ErrorCode::kUsage,
           "{} holds the layers of another model or of other options; use another folder",
           path_.string());
    return;
  }
  if (fs::exists(path_) && !fs::is_empty(path_))
    fail(ErrorCode::kUsage, "{} holds files that are not a conversion's; use another folder",
         path_.string());
  fs::create_directories(path_);
  write_text(file, key.dump(2) + "\n");
}

fs::path FitStore::folder(int layer) const {
  if (path_.empty()) return {};
  const fs::path folder = path_ / fmt::format("layer-{}", layer);
  fs::create_directories(folder);
  return folder;
}

bool FitStore::has(int layer) const {
  return !path_.empty() && fs::exists(path_ / fmt::format("layer-{}", layer) / kReport);
}

std::optional<LayerSpectra> FitStore::load_spectra(int layer) const {
  if (path_.empty()) return std::nullopt;
  const fs::path file = folder(layer) / kSpectra;
  auto tensors = load_tensors(file);
  if (!tensors) return std::nullopt;
  const auto apart = tensors->find("apart");
  if (apart == tensors->end() || apart->second.numel() != 1)
    fail(ErrorCode::kFormat, "{} lacks apart", file.string());
  LayerSpectra spectra{.apart = apart->second.item<double>() != 0};
  if (tensors->contains("in")) spectra.in_D = tensors->at("in");
  if (tensors->contains("out")) spectra.out_D = tensors->at("out");
  return spectra;
}

void FitStore::save_spectra(int layer, const LayerSpectra& spectra) const {
  if (path_.empty()) return;
  NamedTensors tensors = {{"apart", torch::full({1}, spectra.apart ? 1.0 : 0.0, torch::kDouble)}};
  if (spectra.in_D.defined()) tensors["in"] = spectra.in_D;
  if (spectra.out_D.defined()) tensors["out"] = spectra.out_D;
  save_tensors(folder(layer) / kSpectra, tensors);
}

std::optional<LayerFit> FitStore::load(int layer) const {
  if (!has(layer)) return std::nullopt;
  const fs::path path = folder(layer);
  LayerFit fit;
  const Json json = read_json(path / kReport);
  for (const char* name : {"expert_params", "order", "projections", "has_tensors"})
    if (!json.contains(name))
      fail(ErrorCode::kFormat, "{} lacks {}", (path / kReport).string(), name);
  fit.expert_params = json.at("expert_params").get<std::int64_t>();
  fit.order = json.at("order").get<std::vector<std::int64_t>>();
  for (const Json& row : json.at("projections")) fit.projections.push_back(projection_from(row));
  if (!json.at("has_tensors").get<bool>()) return fit;
  const auto store = open_safetensors(path / kFile);
  for (const auto& [name, view] : store->tensors()) {
    at::Tensor values = torch::empty(view.shape, torch::kFloat);
    to_float(view.dtype, view.bytes.data(), values.data_ptr<float>(), values.numel());
    fit.tensors[name] = values;
  }
  return fit;
}

void FitStore::save(int layer, const LayerFit& fit) const {
  if (path_.empty()) return;
  const fs::path path = folder(layer);
  if (!fit.tensors.empty()) {
    std::vector<SafetensorsWriter::Entry> entries;
    for (const auto& [name, tensor] : fit.tensors)
      entries.push_back({name, DType::kF32, tensor.sizes().vec()});
    SafetensorsWriter writer(path / kFile, std::move(entries));
    for (const auto& [name, tensor] : fit.tensors) {
      const at::Tensor values = tensor.to(torch::kFloat).contiguous();
      writer.write(name, std::as_bytes(std::span(values.const_data_ptr<float>(),
                                                 static_cast<std::size_t>(values.numel()))));
    }
    writer.finish();
  }
  Json rows = Json::array();
  for (const ProjectionFit& projection : fit.projections) rows.push_back(to_json(projection));
  // Last: a layer with it is complete.
  write_text(path / kReport, Json({{"expert_params", fit.expert_params},
                                   {"has_tensors", !fit.tensors.empty()},
                                   {"order", fit.order},
                                   {"projections", std::move(rows)}})
                                     .dump(2) +
                                 "\n");
}

}  // namespace talpa::convert
