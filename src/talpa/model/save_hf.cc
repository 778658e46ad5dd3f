#include <array>

#include "talpa/base/file.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/model/hf_names.h"
#include "talpa/model/model_folder.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

constexpr std::array kTokenizerFiles = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "chat_template.jinja",
                                        "chat_template.json"};

void copy_to(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::copy_file(from, to, error);
  if (error) fail(ErrorCode::kIo, "{}: cannot copy: {}", from.string(), error.message());
}

/// From a directory, or a tokenizer.json by whatever name.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(from, ignored)) {
    copy_to(from, to / "tokenizer.json");
    return;
  }
  if (!std::filesystem::is_directory(from, ignored))
    fail(ErrorCode::kNotFound, "{}: no tokenizer there", from.string());
  for (const char* name : kTokenizerFiles)
    if (std::filesystem::exists(from / name, ignored)) copy_to(from / name, to / name);
}

Json generation_config(const Json& config) {
  return {{"_from_model_config", true},
          {"bos_token_id", config.at("bos_token_id")},
          {"eos_token_id", config.at("eos_token_id")}};
}

/// A selection bias moves in steps that bf16 cannot hold.
DType hf_stored_type(const WeightSpec& spec, DType dtype) {
  return split_weight_name(spec.name).role == "moe.router_bias" ? DType::kF32 : dtype;
}

void write_tensors(const std::filesystem::path& path, const DecoderConfig& config,
                   const WeightProvider& provider, const SaveOptions& options) {
  const std::vector<WeightSpec> specs = weight_specs(config);
  std::vector<SafetensorsWriter::Entry> entries;
  for (const WeightSpec& spec : specs)
    for (const StoredPart& part : hf_parts(config, spec)) {
      const Shape shape =
          part.slice < 0 ? spec.shape : Shape(spec.shape.begin() + 1, spec.shape.end());
      entries.push_back({part.stored_name, hf_stored_type(spec, options.dtype), shape});
    }
  SafetensorsWriter writer(path, std::move(entries), options.metadata);
  std::vector<float> values;
  std::vector<std::byte> bytes;
  for (const WeightSpec& spec : specs) {
    const auto parts = hf_parts(config, spec);
    const DType dtype = hf_stored_type(spec, options.dtype);
    values.resize(static_cast<std::size_t>(num_elements(spec.shape)));
    provider(spec, values.data());
    const std::size_t count = values.size() / parts.size();
    bytes.resize(bytes_of(dtype, count));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      from_float(dtype, values.data() + i * count, bytes.data(), static_cast<std::int64_t>(count));
      writer.write(parts[i].stored_name, bytes);
    }
  }
  writer.finish();
}

}  // namespace

void save_hf_directory(const std::filesystem::path& path, const DecoderConfig& config,
                       const WeightProvider& provider, const SaveOptions& options) {
  if (options.dtype != DType::kF32 && options.dtype != DType::kF16 && options.dtype != DType::kBF16)
    fail(ErrorCode::kUnsupported, "a Hugging Face directory holds f32, f16 or bf16, not {}",
         name_of(options.dtype));
  const Json json = to_hf_config(config, options.dtype);
  if (options.overwrite) check_replaceable_model(path);
  AtomicDirectory directory(path, options.overwrite);
  write_text(directory.path() / "config.json", json.dump(2) + "\n");
  write_text(directory.path() / "generation_config.json", generation_config(json).dump(2) + "\n");
  write_tensors(directory.path() / "model.safetensors", config, provider, options);
  if (!options.tokenizer_from.empty()) copy_tokenizer(options.tokenizer_from, directory.path());
  directory.commit();
}

}  // namespace talpa
