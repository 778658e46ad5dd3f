#include "talpa/format/gguf.h"
#include "talpa/model/gguf_config.h"
#include "talpa/model/open_model.h"
#include "talpa/model/tensor_matcher.h"

namespace talpa {
namespace {

DecoderConfig read_description(const GgufFile& file) {
  return from_gguf({file.path().string(),
                    [&](const std::string& key) { return file.find_metadata(key); },
                    [&](const std::string& name) {
                      const TensorView* view = file.find(name);
                      return view ? &view->shape : nullptr;
                    }});
}

/// Factors of the rotary frequencies (long-context variants): all ones change nothing.
void check_rope_factors(const GgufFile& file, TensorMatcher& matcher) {
  const std::string name = "rope_freqs.weight";
  const TensorView* view = file.find(name);
  if (!view) return;
  for (const float factor : read_floats(*view))
    if (factor != 1.0f)
      fail(ErrorCode::kUnsupported,
           "{}: tensor {} holds a factor {}: scaled rotary embedding is not supported",
           file.path().string(), name, factor);
  matcher.ignore(name);
}

Weight take_gguf_weight(TensorMatcher& matcher, const DecoderConfig& config,
                        const WeightSpec& spec) {
  Weight weight{spec.shape, {}};
  const std::string stored = gguf_name(config.family, spec.name);
  if (!gguf_pairs_rows(config, spec.name)) {
    matcher.take(weight, stored, spec.shape);
    return weight;
  }
  const int head_dim = config.attention.head_dim;
  const std::int64_t columns = spec.shape.size() == 1 ? 1 : spec.shape.back();
  matcher.take_rows(weight, stored, spec.shape, columns,
                    [&](std::int64_t row) { return gguf_rotary_row(row, head_dim); });
  return weight;
}

}  // namespace

ModelFiles open_gguf_model(const std::filesystem::path& path) {
  const std::shared_ptr<GgufFile> file = GgufFile::open(path);
  ModelFiles files;
  files.path = path;
  files.format = "gguf";
  files.config = read_description(*file);
  files.store = file;
  TensorMatcher matcher(*file);
  check_rope_factors(*file, matcher);
  for (const WeightSpec& spec : weight_specs(files.config))
    files.weights.emplace(spec.name, take_gguf_weight(matcher, files.config, spec));
  matcher.finish();
  return files;
}

}  // namespace talpa
