#include "talpa/model/encoder_config.h"

#include "talpa/model/families/hf_reader.h"

namespace talpa {

void EncoderConfig::validate(const std::string& path) const {
  auto range = [&](const char* setting, std::int64_t value, std::int64_t high) {
    if (value < 1 || value > high)
      fail(ErrorCode::kConfig, "{} = {} is outside 1 to {}", detail::join(path, setting), value,
           high);
  };
  range("vocab_size", vocab_size, 1 << 24);
  range("dim", dim, 1 << 17);
  range("num_layers", num_layers, 1024);
  range("num_heads", num_heads, 1 << 12);
  range("ffn_dim", ffn_dim, 1 << 20);
  range("max_positions", max_positions, 1 << 20);
  range("num_token_types", num_token_types, 1 << 10);
  if (dim % num_heads != 0)
    fail(ErrorCode::kConfig, "{} = {} is no multiple of {} = {}", detail::join(path, "dim"), dim,
         detail::join(path, "num_heads"), num_heads);
  if (!(norm_eps >= 0 && norm_eps <= 1))
    fail(ErrorCode::kConfig, "{} = {} is outside 0 to 1", detail::join(path, "norm_eps"), norm_eps);
}

EncoderConfig from_hf_encoder_config(const Json& json, const std::string& source) {
  const HfReader reader(json, source);
  if (const std::string type = reader.text("model_type", ""); type != "bert")
    reader.refuse("model_type", type, "bert is the only encoder that is known");
  auto neutral = [&](const char* key, const Json& value, const char* why) {
    if (reader.has(key) && json.at(key) != value) reader.refuse(key, json.at(key), why);
  };
  neutral("hidden_act", "gelu", "only gelu is supported");
  neutral("position_embedding_type", "absolute", "only absolute positions are supported");
  neutral("is_decoder", false, "a BERT that generates is not supported");
  neutral("add_cross_attention", false, "cross-attention is not supported");
  neutral("quantization_config", nullptr, "quantised checkpoints are not supported");
  EncoderConfig config;
  config.vocab_size = reader.integer("vocab_size");
  config.dim = reader.integer("hidden_size");
  config.num_layers = reader.integer("num_hidden_layers");
  config.num_heads = reader.integer("num_attention_heads");
  config.ffn_dim = reader.integer("intermediate_size");
  config.norm_eps = reader.number("layer_norm_eps", config.norm_eps);
  config.max_positions = reader.integer("max_position_embeddings", config.max_positions);
  config.num_token_types = reader.integer("type_vocab_size", config.num_token_types);
  try {
    config.validate({});
  } catch (const Error& error) {
    fail(ErrorCode::kFormat, "{}: {}", source, error.what());
  }
  return config;
}

}  // namespace talpa
