#include <algorithm>

#include "talpa/format/gguf.h"
#include "talpa/model/gguf_config.h"
#include "talpa/model/gguf_tokenizer.h"
#include "talpa/model/hf_names.h"

namespace talpa {
namespace {

/// llama.cpp keeps norms, biases and routers in F32.
DType stored_type(const WeightSpec& spec, DType wanted) {
  const std::string_view role = split_weight_name(spec.name).role;
  if (spec.shape.size() < 2 || role.ends_with(".router")) return DType::kF32;
  return spec.shape.back() % info_of(wanted).block_size == 0 ? wanted : DType::kF16;
}

Shape stored_shape(const WeightSpec& spec) {
  return split_weight_name(spec.name).role == "shared.router" ? Shape{spec.shape.back()}
                                                              : spec.shape;
}

/// Our rows into the order of rotary pairs.
void pair_rotary_rows(const Shape& shape, int head_dim, std::vector<float>& values) {
  const std::int64_t rows = shape.front();
  const auto columns = static_cast<std::int64_t>(values.size()) / rows;
  std::vector<float> paired(values.size());
  for (std::int64_t row = 0; row < rows; ++row)
    std::copy_n(values.begin() + row * columns, columns,
                paired.begin() + gguf_rotary_row(row, head_dim) * columns);
  values = std::move(paired);
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
  constexpr DType kKnown[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                              DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};
  if (std::find(std::begin(kKnown), std::end(kKnown), options.dtype) == std::end(kKnown))
    fail(ErrorCode::kUnsupported,
         "type {} is not written; expected f32, f16, bf16, q8_0, q4_0 or q4_1",
         name_of(options.dtype));
  const GgufMetadata metadata = all_metadata(config, path, options);
  const std::vector<WeightSpec> specs = weight_specs(config);
  std::vector<GgufWriter::Entry> entries;
  for (const WeightSpec& spec : specs)
    entries.push_back({gguf_name(spec.name), stored_type(spec, options.dtype), stored_shape(spec)});
  GgufWriter writer(path, metadata, entries);
  std::vector<float> values;
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    values.resize(static_cast<std::size_t>(num_elements(specs[i].shape)));
    provider(specs[i], values.data());
    if (gguf_pairs_rows(config, specs[i].name))
      pair_rotary_rows(specs[i].shape, config.attention.head_dim, values);
    bytes.resize(bytes_of(entries[i].dtype, values.size()));
    from_float(entries[i].dtype, values.data(), bytes.data(),
               static_cast<std::int64_t>(values.size()));
    writer.write(entries[i].name, bytes);
  }
  writer.finish();
}

}  // namespace talpa
