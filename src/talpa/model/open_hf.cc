#include <algorithm>

#include "talpa/format/hf_directory.h"
#include "talpa/model/families/family.h"
#include "talpa/model/hf_names.h"
#include "talpa/model/open_model.h"
#include "talpa/model/tensor_matcher.h"

namespace talpa {
namespace {

/// transformers also stores experts fused: gate_up_proj [N, 2m, n], in each expert the rows of
/// gate before those of up, and down_proj [N, n, m].
bool take_fused_experts(TensorMatcher& matcher, const WeightSpec& spec, Weight& weight) {
  const WeightName name = split_weight_name(spec.name);
  const bool down = name.role == "moe.down";
  if (!down && name.role != "moe.gate" && name.role != "moe.up") return false;
  for (const char* block : {"mlp", "block_sparse_moe"}) {
    const std::string stored = fmt::format("model.layers.{}.{}.experts.{}", name.layer, block,
                                           down ? "down_proj" : "gate_up_proj");
    if (!matcher.has(stored)) continue;
    if (down) {
      matcher.take(weight, stored, spec.shape);
      return true;
    }
    const std::int64_t m = spec.shape[1];
    const Shape fused = {spec.shape[0], 2 * m, spec.shape[2]};
    const std::int64_t offset = name.role == "moe.up" ? m : 0;
    for (std::int64_t expert = 0; expert < spec.shape[0]; ++expert)
      matcher.take_range(weight, stored, fused, expert * 2 * m + offset, m);
    return true;
  }
  return false;
}

Weight take_hf_weight(TensorMatcher& matcher, const DecoderConfig& config, const WeightSpec& spec) {
  Weight weight{spec.shape, {}};
  const auto parts = hf_parts(config, spec);
  const bool stored = matcher.has(parts.front().stored_name);
  if (!stored && take_fused_experts(matcher, spec, weight)) return weight;
  for (const StoredPart& part : parts) {
    const Shape shape =
        part.slice < 0 ? spec.shape : Shape(spec.shape.begin() + 1, spec.shape.end());
    matcher.take(weight, part.stored_name, shape);
  }
  return weight;
}

/// Generation may stop at more tokens than config.json names.
void add_generation_stops(const HfDirectory& directory, DecoderConfig& config) {
  if (!directory.generation_config) return;
  const std::string source = (directory.path / "generation_config.json").string();
  for (const int token : HfReader(*directory.generation_config, source).integers("eos_token_id")) {
    auto& tokens = config.eos_tokens;
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  config.validate({});
}

}  // namespace

ModelFiles open_hf_model(const std::filesystem::path& path) {
  const HfDirectory directory = open_hf_directory(path);
  ModelFiles files;
  files.path = path;
  files.format = "hf";
  files.config = from_hf_config(directory.config, (path / "config.json").string());
  add_generation_stops(directory, files.config);
  files.store = open_safetensors(path);
  TensorMatcher matcher(*files.store);
  for (const WeightSpec& spec : weight_specs(files.config))
    files.weights.emplace(spec.name, take_hf_weight(matcher, files.config, spec));
  // transformers reads a stored head of a tied model and then replaces it by the embedding.
  if (files.config.tie_embeddings) matcher.ignore("lm_head.weight");
  matcher.finish();
  return files;
}

}  // namespace talpa
