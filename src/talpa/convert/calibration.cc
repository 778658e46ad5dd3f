// N experts, M expert width, D model width.
#include "talpa/convert/calibration.h"

#include <torch/torch.h>

#include <cstring>

#include "talpa/base/file.h"

namespace talpa::convert {

namespace {

constexpr std::size_t kDigestedBytes = 1024;  ///< of a tensor

/// A stored tensor without a copy; the store stays open as long as the tensor.
at::Tensor mapped(const std::shared_ptr<TensorStore>& store, const std::string& name, DType dtype) {
  const TensorView& view = store->at(name);
  if (view.dtype != dtype)
    fail(ErrorCode::kFormat, "{}: {} is {}, expected {}", store->path().string(), name,
         name_of(view.dtype), name_of(dtype));
  const auto type = dtype == DType::kI64 ? torch::kLong : torch::kDouble;
  auto* data = const_cast<std::byte*>(view.bytes.data());
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(double) != 0)
    fail(ErrorCode::kFormat, "{}: {} does not lie on a multiple of eight bytes",
         store->path().string(), name);
  return torch::from_blob(
      data, view.shape, [store](void*) {}, torch::TensorOptions(type));
}

void check_shape(const at::Tensor& tensor, at::IntArrayRef shape, const std::string& name) {
  if (tensor.sizes() != shape)
    fail(ErrorCode::kFormat, "{} has shape {}, expected {}", name, to_string(tensor.sizes().vec()),
         to_string(shape.vec()));
}

/// A text of a safetensors file's metadata, which the store does not keep; "" if there is none.
/// The file has been opened as a store, so its header is sound.
std::string metadata_of(const std::filesystem::path& path, const char* key) {
  const MappedFile file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), sizeof(length));
  const auto header = file.bytes().subspan(sizeof(length), length);
  const Json json =
      parse_json({reinterpret_cast<const char*>(header.data()), header.size()}, path.string());
  const Json metadata = json.value("__metadata__", Json::object());
  return metadata.value(key, "");
}

void mix(std::uint64_t& hash, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes)
    hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ULL;
}

at::Tensor part_of(const at::Tensor& stack, std::int64_t expert) {
  return stack[expert].to(torch::kDouble);
}

}  // namespace

std::int64_t LayerStatistics::num_experts() const { return rows_N.size(0); }
bool LayerStatistics::has_expert_inputs() const { return input_moments.dim() == 3; }
bool LayerStatistics::has_full_hidden() const { return hidden_moments.dim() == 3; }

at::Tensor LayerStatistics::input_moment(std::int64_t expert) const {
  if (has_expert_inputs()) return part_of(input_moments, expert);
  const double all = mass2_N.sum().item<double>();
  const double share = all > 0 ? mass2_N[expert].item<double>() / all : 0;
  return input_moments.to(torch::kDouble) * share;
}

at::Tensor LayerStatistics::input_moment(std::span<const std::int64_t> experts) const {
  at::Tensor sum;
  for (const std::int64_t e : experts)
    sum = sum.defined() ? sum + input_moment(e) : input_moment(e);
  return sum;
}

at::Tensor LayerStatistics::layer_input_moment() const {
  if (!has_expert_inputs()) return input_moments.to(torch::kDouble);
  return input_moments.sum(0, false, torch::kDouble);
}

at::Tensor LayerStatistics::hidden_moment(std::int64_t expert) const {
  const at::Tensor moment = part_of(hidden_moments, expert);
  return has_full_hidden() ? moment : torch::diag(moment);
}

Calibration Calibration::open(const std::filesystem::path& path) {
  Calibration calibration;
  calibration.path_ = path;
  calibration.store_ = open_safetensors(path);
  const std::string text = metadata_of(path, kDescriptionKey);
  if (text.empty())
    fail(ErrorCode::kFormat, "{} is no file of this version's talpa calibrate", path.string());
  read_config(parse_json(text, path.string()), calibration.description_, path.string());
  return calibration;
}

void Calibration::check_made_for(const ModelFiles& model) const {
  if (digest_of(model) != description_.digest)
    fail(ErrorCode::kUsage, "{} was made with another model, {}", path_.string(),
         description_.model);
}

std::string Calibration::key() const {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const std::string description = config_to_json(description_).dump();
  mix(hash, std::as_bytes(std::span(description)));
  // The same text under the same name may have been edited, or other moments been kept of it.
  for (const auto& [name, view] : store_->tensors()) {
    const std::string head = name + to_string(view.shape);
    mix(hash, std::as_bytes(std::span(head)));
    mix(hash, view.bytes.first(std::min(view.bytes.size(), kDigestedBytes)));
  }
  return fmt::format("{:016x}", hash);
}

LayerStatistics Calibration::layer(int layer, const DecoderConfig& config) const {
  const std::string prefix = fmt::format("layers.{}.", layer);
  auto get = [&](const char* name, DType dtype = DType::kF64) {
    return mapped(store_, prefix + name, dtype);
  };
  LayerStatistics s;
  s.tokens = description_.tokens;
  s.rows_N = get("rows", DType::kI64);
  s.mass_N = get("mass");
  s.mass2_N = get("mass2");
  s.output_mass_N = get("output_mass");
  s.mean_output_ND = get("mean_output");
  s.gate_effect_NM = get("gate_effect");
  s.up_effect_NM = get("up_effect");
  s.input_moments = get("input_moments");
  s.hidden_moments = get("hidden_moments");
  s.release = [store = store_, prefix] {
    for (const char* name : {"input_moments", "hidden_moments"})
      store->release(store->at(prefix + name).bytes);
  };
  const std::int64_t N = config.moe.num_experts, D = config.dim, M = config.moe.hidden_dim;
  check_shape(s.rows_N, {N}, prefix + "rows");
  for (const at::Tensor& sum : {s.mass_N, s.mass2_N, s.output_mass_N})
    check_shape(sum, {N}, prefix + "mass");
  check_shape(s.mean_output_ND, {N, D}, prefix + "mean_output");
  check_shape(s.gate_effect_NM, {N, M}, prefix + "gate_effect");
  check_shape(s.up_effect_NM, {N, M}, prefix + "up_effect");
  if (s.has_expert_inputs())
    check_shape(s.input_moments, {N, D, D}, prefix + "input_moments");
  else
    check_shape(s.input_moments, {D, D}, prefix + "input_moments");
  if (s.has_full_hidden())
    check_shape(s.hidden_moments, {N, M, M}, prefix + "hidden_moments");
  else
    check_shape(s.hidden_moments, {N, M}, prefix + "hidden_moments");
  return s;
}

namespace {

/// Without settings that have their defaults, so that a digest outlives settings that are added.
Json without_defaults(const Json& settings, const Json& defaults) {
  if (!settings.is_object()) return settings;
  Json rest = Json::object();
  for (const auto& [name, value] : settings.items())
    if (!defaults.contains(name))
      rest[name] = value;
    else if (value != defaults[name])
      rest[name] = without_defaults(value, defaults[name]);
  return rest;
}

}  // namespace

std::string digest_of(const ModelFiles& model) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const std::string description =
      without_defaults(config_to_json(model.config), config_to_json(DecoderConfig())).dump();
  mix(hash, std::as_bytes(std::span(description)));
  for (const auto& [name, weight] : model.weights)
    if (name.ends_with(".moe.router"))
      for (const TensorView& piece : weight.pieces) mix(hash, piece.bytes);
    else if (name.find(".moe.") != std::string::npos)
      for (const TensorView& piece : weight.pieces)
        mix(hash, piece.bytes.first(std::min<std::size_t>(piece.bytes.size(), kDigestedBytes)));
  return fmt::format("{:016x}", hash);
}

}  // namespace talpa::convert
