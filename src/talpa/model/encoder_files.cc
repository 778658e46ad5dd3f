#include "talpa/model/encoder_files.h"

#include <array>
#include <string_view>

#include "talpa/format/hf_directory.h"
#include "talpa/model/families/hf_reader.h"
#include "talpa/model/hf_names.h"
#include "talpa/model/tensor_matcher.h"

namespace talpa {

namespace {

struct EncoderName {
  std::string_view own, stored;
};

constexpr EncoderName kEmbeddingNames[] = {
    {"embed.tokens", "word_embeddings.weight"},
    {"embed.positions", "position_embeddings.weight"},
    {"embed.types", "token_type_embeddings.weight"},
    {"embed.norm", "LayerNorm.weight"},
    {"embed.norm_bias", "LayerNorm.bias"},
};
constexpr EncoderName kLayerNames[] = {
    {"attn.q", "attention.self.query.weight"},
    {"attn.q_bias", "attention.self.query.bias"},
    {"attn.k", "attention.self.key.weight"},
    {"attn.k_bias", "attention.self.key.bias"},
    {"attn.v", "attention.self.value.weight"},
    {"attn.v_bias", "attention.self.value.bias"},
    {"attn.o", "attention.output.dense.weight"},
    {"attn.o_bias", "attention.output.dense.bias"},
    {"attn.norm", "attention.output.LayerNorm.weight"},
    {"attn.norm_bias", "attention.output.LayerNorm.bias"},
    {"ffn.up", "intermediate.dense.weight"},
    {"ffn.up_bias", "intermediate.dense.bias"},
    {"ffn.down", "output.dense.weight"},
    {"ffn.down_bias", "output.dense.bias"},
    {"ffn.norm", "output.LayerNorm.weight"},
    {"ffn.norm_bias", "output.LayerNorm.bias"},
};

/// Name in a Hugging Face directory, without "bert." in front.
std::string stored_name(const std::string& own) {
  const WeightName name = split_weight_name(own);
  if (name.layer < 0) {
    for (const EncoderName& n : kEmbeddingNames)
      if (n.own == own) return fmt::format("embeddings.{}", n.stored);
  } else {
    for (const EncoderName& n : kLayerNames)
      if (n.own == name.role) return fmt::format("encoder.layer.{}.{}", name.layer, n.stored);
  }
  fail(ErrorCode::kInternal, "an encoder has no tensor {}", own);
}

bool is_left_aside(std::string_view name) {
  for (const std::string_view begin : {"pooler.", "bert.pooler.", "cls.", "classifier."})
    if (name.starts_with(begin)) return true;
  return name.ends_with("embeddings.position_ids");
}

Pooling pooling_of(const std::filesystem::path& folder) {
  const auto path = folder / "1_Pooling" / "config.json";
  if (!std::filesystem::exists(path)) return Pooling::kMean;
  const Json json = read_json(path);
  const std::string source = path.string();
  if (!json.is_object()) fail(ErrorCode::kFormat, "{}: expected an object", source);
  const HfReader reader(json, source);
  for (const auto& [key, value] : json.items())
    if (key.starts_with("pooling_mode_") && key != "pooling_mode_cls_token" &&
        key != "pooling_mode_mean_tokens" && reader.boolean(key.c_str(), false))
      reader.refuse(key, value, "only the mean and the first token are supported");
  const bool first = reader.boolean("pooling_mode_cls_token", false);
  if (first == reader.boolean("pooling_mode_mean_tokens", false))
    reader.refuse("pooling_mode_cls_token", first, "one of the mean and the first token");
  return first ? Pooling::kFirst : Pooling::kMean;
}

/// Whatever comes behind pooling would be left out in silence.
void check_modules(const std::filesystem::path& folder) {
  const auto path = folder / "modules.json";
  if (!std::filesystem::exists(path)) return;
  const Json modules = read_json(path);
  if (!modules.is_array()) fail(ErrorCode::kFormat, "{}: expected an array", path.string());
  for (const Json& module : modules) {
    const Json type = module.is_object() ? module.value("type", Json()) : Json();
    const std::string name = type.is_string() ? type.get<std::string>() : type.dump();
    if (!name.ends_with(".Transformer") && !name.ends_with(".Pooling") &&
        !name.ends_with(".Normalize"))
      fail(ErrorCode::kUnsupported, "{}: module {} (known are Transformer, Pooling and Normalize)",
           path.string(), name);
  }
}

}  // namespace

std::vector<WeightSpec> encoder_weight_specs(const EncoderConfig& c) {
  const std::int64_t n = c.dim, f = c.ffn_dim;
  std::vector<WeightSpec> specs = {{"embed.tokens", {c.vocab_size, n}},
                                   {"embed.positions", {c.max_positions, n}},
                                   {"embed.types", {c.num_token_types, n}},
                                   {"embed.norm", {n}},
                                   {"embed.norm_bias", {n}}};
  for (int layer = 0; layer < c.num_layers; ++layer) {
    const std::string prefix = fmt::format("layers.{}.", layer);
    for (const char* name : {"attn.q", "attn.k", "attn.v", "attn.o"}) {
      specs.push_back({prefix + name, {n, n}});
      specs.push_back({prefix + name + "_bias", {n}});
    }
    specs.push_back({prefix + "attn.norm", {n}});
    specs.push_back({prefix + "attn.norm_bias", {n}});
    specs.push_back({prefix + "ffn.up", {f, n}});
    specs.push_back({prefix + "ffn.up_bias", {f}});
    specs.push_back({prefix + "ffn.down", {n, f}});
    for (const char* name : {"ffn.down_bias", "ffn.norm", "ffn.norm_bias"})
      specs.push_back({prefix + name, {n}});
  }
  return specs;
}

bool is_encoder(const std::filesystem::path& path) {
  if (!is_hf_directory(path)) return false;
  const Json config = open_hf_directory(path).config;
  return config.value("model_type", Json()) == "bert";
}

EncoderFiles open_encoder(const std::filesystem::path& path) {
  const HfDirectory directory = open_hf_directory(path);
  EncoderFiles files{
      .path = path,
      .config = from_hf_encoder_config(directory.config, (path / "config.json").string()),
      .weights = {},
      .store = open_safetensors(path)};
  check_modules(path);
  files.config.pooling = pooling_of(path);
  TensorMatcher matcher(*files.store);
  const char* prefix = matcher.has("bert.embeddings.word_embeddings.weight") ? "bert." : "";
  for (const WeightSpec& spec : encoder_weight_specs(files.config)) {
    Weight weight{spec.shape, {}};
    matcher.take(weight, prefix + stored_name(spec.name), spec.shape);
    files.weights.emplace(spec.name, std::move(weight));
  }
  for (const auto& [name, view] : files.store->tensors())
    if (is_left_aside(name)) matcher.ignore(name);
  matcher.finish();
  return files;
}

}  // namespace talpa
