#include <algorithm>

#include "talpa/format/gguf.h"
#include "talpa/model/basis_pivots.h"
#include "talpa/model/gguf_config.h"
#include "talpa/model/gguf_tokenizer.h"
#include "talpa/model/hf_names.h"

namespace talpa {
namespace {

bool is_shared_factor(std::string_view role) {
  return role.starts_with("moe.") &&
         (role.ends_with("_in") || role.ends_with("_out") || role.ends_with("_basis"));
}

DType wanted_type(std::string_view role, const GgufSaveOptions& options) {
  if (role == "moe.gate" || role == "moe.up" || role == "moe.down")
    return options.expert_dtype.value_or(options.dtype);
  if (is_shared_factor(role)) return options.shared_dtype.value_or(options.dtype);
  return options.dtype;
}

/// llama.cpp keeps norms, biases and routers in F32. Pivots are ones and zeros at exact places.
DType stored_type(const WeightSpec& spec, const GgufSaveOptions& options) {
  const std::string_view role = split_weight_name(spec.name).role;
  if (spec.shape.size() < 2 || role.ends_with(".router") || is_pivot(spec.name) ||
      role.ends_with("_mix"))
    return DType::kF32;
  const auto single = options.type_of ? options.type_of(spec) : std::nullopt;
  const DType wanted = single.value_or(wanted_type(role, options));
  return spec.shape.back() % info_of(wanted).block_size == 0 ? wanted : DType::kF16;
}

Shape stored_shape(const DecoderConfig& config, const WeightSpec& spec) {
  const bool vector =
      config.family != Family::kTalpa && split_weight_name(spec.name).role == "shared.router";
  return vector ? Shape{spec.shape.back()} : spec.shape;
}

/// Our rows, as stored, into the order of rotary pairs.
void pair_rotary_rows(std::int64_t rows, int head_dim, std::vector<std::byte>& bytes) {
  const auto row_bytes = static_cast<std::int64_t>(bytes.size()) / rows;
  std::vector<std::byte> paired(bytes.size());
  for (std::int64_t row = 0; row < rows; ++row)
    std::copy_n(bytes.begin() + row * row_bytes, row_bytes,
                paired.begin() + gguf_rotary_row(row, head_dim) * row_bytes);
  bytes = std::move(paired);
}

/// A tensor's elements as they are stored, rows in our order.
void encode(const WeightSpec& spec, DType dtype, const WeightProvider& provider,
            const GgufSaveOptions& options, std::vector<std::byte>& bytes) {
  const std::int64_t count = num_elements(spec.shape);
  bytes.resize(bytes_of(dtype, static_cast<std::uint64_t>(count)));
  if (options.encoded && options.encoded(spec, dtype, bytes)) return;
  std::vector<float> values(static_cast<std::size_t>(count));
  provider(spec, values.data());
  from_float(dtype, values.data(), bytes.data(), count);
}

void check_options(const std::filesystem::path& path, const GgufSaveOptions& options) {
  for (const DType dtype : {options.dtype, options.expert_dtype.value_or(options.dtype),
                            options.shared_dtype.value_or(options.dtype)})
    if (!is_written(dtype))
      fail(ErrorCode::kUnsupported, "type {} is not written; expected one of {}", name_of(dtype),
           written_types());
  if (!options.overwrite && std::filesystem::exists(path))
    fail(ErrorCode::kUsage, "{} exists already", path.string());
}

GgufMetadata all_metadata(const DecoderConfig& config, const std::filesystem::path& path,
                          const GgufSaveOptions& options) {
  GgufMetadata metadata = to_gguf_metadata(config);
  metadata.emplace_back("general.name", path.stem().string());
  const GgufMetadata tokenizer = options.tokenizer_from.empty()
                                     ? gguf_no_tokenizer()
                                     : gguf_tokenizer(options.tokenizer_from, config.vocab_size);
  metadata.insert(metadata.end(), tokenizer.begin(), tokenizer.end());
  return metadata;
}

}  // namespace

void save_gguf(const std::filesystem::path& path, const DecoderConfig& config,
               const WeightProvider& provider, const GgufSaveOptions& options) {
  check_options(path, options);
  const GgufMetadata metadata = all_metadata(config, path, options);
  const std::vector<WeightSpec> specs = weight_specs(config);
  std::vector<GgufWriter::Entry> entries;
  for (const WeightSpec& spec : specs)
    entries.push_back({gguf_name(config.family, spec.name), stored_type(spec, options),
                       stored_shape(config, spec)});
  GgufWriter writer(path, metadata, entries);
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    encode(specs[i], entries[i].dtype, provider, options, bytes);
    if (gguf_pairs_rows(config, specs[i].name))
      pair_rotary_rows(specs[i].shape.front(), config.attention.head_dim, bytes);
    writer.write(entries[i].name, bytes);
  }
  writer.finish();
}

}  // namespace talpa
