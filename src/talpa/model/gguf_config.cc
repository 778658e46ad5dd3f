#include "talpa/model/gguf_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>

#include "talpa/base/log.h"
#include "talpa/model/families/family.h"
#include "talpa/model/gguf_own.h"
#include "talpa/model/lost_setting.h"

namespace talpa {
namespace {

/// Roles of the tokens that end a text.
constexpr std::array<const char*, 3> kStopKeys = {"eos", "eot", "eom"};

/// The shortest decimal number of a value that was stored as a float: 1e-05, not
/// 9.9999997e-06.
double as_written(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  const std::string text = fmt::format("{}", narrow);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// Reads the keys of one architecture.
class GgufConfigReader {
 public:
  explicit GgufConfigReader(const GgufDescription& description) : d_(description) {}

  DecoderConfig read() {
    const FamilyAdapter& adapter = find_adapter();
    DecoderConfig config;
    config.family = adapter.family;
    read_common(config);
    read_attention(config.attention, config.dim);
    check_options(config);
    if (integer("expert_count", 0) > 0) read_experts(config);
    const MoeConfig before = config.moe;
    adapter.read_gguf(config);
    check_expert_options(config.moe);
    if (!before.shared_hidden_dim) config.moe.shared_gate = false;
    config.validate({});
    return config;
  }

 private:
  [[noreturn]] void wrong(const std::string& key, const char* expected) const {
    fail(ErrorCode::kFormat, "{}: metadata {}: expected {}", d_.source, key, expected);
  }

  const Json* find(const std::string& key) const { return d_.metadata(prefix_ + key); }

  int to_int(const std::string& key, const Json& value) const {
    if (!value.is_number_integer()) wrong(key, "an integer");
    const bool fits = value.is_number_unsigned() ? std::in_range<int>(value.get<std::uint64_t>())
                                                 : std::in_range<int>(value.get<std::int64_t>());
    if (!fits) wrong(key, "an integer below 2^31");
    return value.get<int>();
  }

  /// An integer, or a list that says the same for every layer.
  int integer(const std::string& key) const {
    const Json* value = find(key);
    if (!value) fail(ErrorCode::kFormat, "{}: metadata {}{} is missing", d_.source, prefix_, key);
    if (!value->is_array()) return to_int(prefix_ + key, *value);
    if (value->empty()) wrong(prefix_ + key, "a list that is not empty");
    for (const Json& item : *value)
      if (item != value->front())
        fail(ErrorCode::kUnsupported, "{}: metadata {}{} differs by layer", d_.source, prefix_,
             key);
    return to_int(prefix_ + key, value->front());
  }
  int integer(const std::string& key, int fallback) const {
    return find(key) ? integer(key) : fallback;
  }

  double number(const std::string& key, double fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_number()) wrong(prefix_ + key, "a number");
    return as_written(value->get<double>());
  }

  void require(const std::string& key, const Json& neutral, const char* why) const {
    const Json* value = find(key);
    if (value && *value != neutral)
      fail(ErrorCode::kUnsupported, "{}: metadata {}{} = {}: {}", d_.source, prefix_, key,
           value->dump(-1, ' ', false, Json::error_handler_t::replace), why);
  }

  const Shape& shape(const std::string& tensor, std::size_t dimensions) const {
    const Shape* found = d_.tensor_shape(tensor);
    if (!found) fail(ErrorCode::kFormat, "{}: 1 tensor is missing: {}", d_.source, tensor);
    if (found->size() != dimensions)
      fail(ErrorCode::kFormat, "{}: tensor {}: expected {} dimensions, got shape {}", d_.source,
           tensor, dimensions, to_string(*found));
    return *found;
  }
  int size(const std::string& tensor, std::size_t dimensions, std::size_t dimension) const {
    const std::int64_t value = shape(tensor, dimensions)[dimension];
    if (!std::in_range<int>(value)) wrong(tensor, "a size below 2^31");
    return static_cast<int>(value);
  }

  const FamilyAdapter& find_adapter() {
    const Json* architecture = d_.metadata("general.architecture");
    if (!architecture || !architecture->is_string())
      wrong("general.architecture", "the name of an architecture");
    const auto name = architecture->get<std::string>();
    prefix_ = name + ".";
    const bool experts = find("expert_count") && integer("expert_count") > 0;
    std::set<std::string> known;
    for (const FamilyAdapter* adapter : family_adapters()) {
      if (!adapter->gguf_architecture) continue;
      known.insert(adapter->gguf_architecture);
      const bool dense_family = adapter->family == Family::kLlama;
      if (name == adapter->gguf_architecture && dense_family != experts) return *adapter;
    }
    fail(ErrorCode::kUnsupported, "{}: architecture {} is not known; known: {}", d_.source, name,
         fmt::join(known, ", "));
  }

  void read_common(DecoderConfig& config) const {
    config.vocab_size = size("token_embd.weight", 2, 0);
    config.dim = integer("embedding_length");
    config.num_layers = integer("block_count");
    config.ffn_dim = integer("feed_forward_length", 0);
    config.norm_eps = number("attention.layer_norm_rms_epsilon", 1e-5);
    config.max_positions = integer("context_length", 2048);
    config.tie_embeddings = !d_.tensor_shape("output.weight");
    config.bos_token = token("bos");
    for (const char* key : kStopKeys) {
      const int stop = token(key);
      auto& stops = config.eos_tokens;
      if (stop >= 0 && std::find(stops.begin(), stops.end(), stop) == stops.end())
        stops.push_back(stop);
    }
  }

  /// Id of a token with a role, -1 if none is named.
  int token(const char* role) const {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", role);
    const Json* value = d_.metadata(key);
    // Writers put 2^32 - 1 where there is none.
    if (!value || *value == 0xFFFFFFFFu) return -1;
    return to_int(key, *value);
  }

  void read_attention(AttentionConfig& attention, int dim) const {
    attention.num_heads = integer("attention.head_count");
    attention.num_kv_heads = integer("attention.head_count_kv", attention.num_heads);
    if (attention.num_heads < 1) wrong(prefix_ + "attention.head_count", "at least 1");
    attention.head_dim = integer("attention.key_length", dim / attention.num_heads);
    attention.rope_theta = number("rope.freq_base", 10000);
    attention.qkv_bias = d_.tensor_shape("blk.0.attn_q.bias") != nullptr;
  }

  void check_options(const DecoderConfig& config) const {
    const Json head_dim = config.attention.head_dim;
    require("rope.dimension_count", head_dim, "partial rotary embedding is not supported");
    require("attention.value_length", head_dim, "values of another width are not supported");
    require("rope.scaling.type", "none", "scaled rotary embedding is not supported");
    require("rope.scaling.factor", 1.0, "scaled rotary embedding is not supported");
    require("rope.scale_linear", 1.0, "scaled rotary embedding is not supported");
    require("attention.clamp_kqv", 0.0, "clamped attention is not supported");
    require("logit_scale", 1.0, "scaled logits are not supported");
    require("embedding_scale", 1.0, "scaled embeddings are not supported");
    require("residual_scale", 1.0, "scaled residuals are not supported");
    require("attention.scale", std::sqrt(1.0 / config.attention.head_dim),
            "scaled attention is not supported");
    if (find("attention.sliding_window") &&
        integer("attention.sliding_window") < config.max_positions)
      require("attention.sliding_window", nullptr, "a window below the context is not supported");
  }

  void read_experts(DecoderConfig& config) const {
    MoeConfig& moe = config.moe;
    moe.num_experts = integer("expert_count");
    moe.top_k = integer("expert_used_count");
    int first = -1;
    for (int layer = 0; layer < std::min(config.num_layers, 1 << 12); ++layer) {
      if (!d_.tensor_shape(fmt::format("blk.{}.ffn_gate_inp.weight", layer))) {
        moe.dense_layers.push_back(layer);
      } else if (first < 0) {
        first = layer;
      }
    }
    if (first < 0)
      fail(ErrorCode::kFormat, "{}: {}expert_count = {}, but no layer has experts", d_.source,
           prefix_, moe.num_experts);
    moe.hidden_dim = size(fmt::format("blk.{}.ffn_gate_exps.weight", first), 3, 1);
    const std::string shared = fmt::format("blk.{}.ffn_gate_shexp.weight", first);
    if (d_.tensor_shape(shared)) moe.shared_hidden_dim = size(shared, 2, 0);
    if (moe.dense_layers.empty()) config.ffn_dim = 0;
  }

  void check_expert_options(const MoeConfig& moe) const {
    require("expert_weights_norm", moe.normalize_top_k,
            "llama.cpp's rule for this architecture is the other one");
    if (number("expert_weights_scale", 1) != 0)
      require("expert_weights_scale", 1.0, "scaled experts are not supported");
    require("expert_gating_func", 1, "only softmax gating is supported");
    if (integer("expert_group_count", 1) > 1)
      require("expert_group_count", 1, "groups of experts in routing are not supported");
  }

  const GgufDescription& d_;
  std::string prefix_;
};

void refuse_unwritable(const DecoderConfig& config) {
  const FamilyAdapter& adapter = adapter_of(config.family);
  if (config.has_moe() && !config.moe.dense_layers.empty())
    fail(ErrorCode::kUnsupported,
         "llama.cpp's architecture {} has experts in every layer; layer {} is dense",
         adapter.gguf_architecture, config.moe.dense_layers.front());
  // llama.cpp's graph of these families takes the head's width from the model's.
  const AttentionConfig& a = config.attention;
  if (config.family == Family::kOlmoe && a.num_heads * a.head_dim != config.dim)
    fail(ErrorCode::kUnsupported, "llama.cpp's architecture olmoe needs heads of width {} / {}",
         config.dim, a.num_heads);
}

void verify(const DecoderConfig& config, const GgufMetadata& metadata) {
  std::map<std::string, Json> keys(metadata.begin(), metadata.end());
  std::map<std::string, Shape> shapes;
  for (const WeightSpec& spec : weight_specs(config))
    shapes[gguf_name(config.family, spec.name)] = spec.shape;
  const GgufDescription description{"GGUF",
                                    [&](const std::string& key) {
                                      const auto it = keys.find(key);
                                      return it == keys.end() ? nullptr : &it->second;
                                    },
                                    [&](const std::string& name) {
                                      const auto it = shapes.find(name);
                                      return it == shapes.end() ? nullptr : &it->second;
                                    }};
  DecoderConfig wanted = config;
  wanted.moe.balance_loss = MoeConfig{}.balance_loss;
  wanted.moe.z_loss = 0;
  for (double* number : {&wanted.norm_eps, &wanted.attention.rope_theta})
    *number = as_written(static_cast<float>(*number));
  if (wanted.eos_tokens.size() > kStopKeys.size()) {
    log::warn("a GGUF names {} ends of text; the description's others are left out",
              kStopKeys.size());
    wanted.eos_tokens.resize(kStopKeys.size());
  }
  const std::string lost = lost_setting(wanted, from_gguf(description));
  if (!lost.empty())
    fail(ErrorCode::kUnsupported, "llama.cpp's architecture {} cannot express {}",
         adapter_of(config.family).gguf_architecture, lost);
}

void add_tokens(const DecoderConfig& config, GgufMetadata& metadata) {
  if (config.bos_token >= 0) metadata.emplace_back("tokenizer.ggml.bos_token_id", config.bos_token);
  for (std::size_t i = 0; i < std::min(kStopKeys.size(), config.eos_tokens.size()); ++i)
    metadata.emplace_back(fmt::format("tokenizer.ggml.{}_token_id", kStopKeys[i]),
                          config.eos_tokens[i]);
}

}  // namespace

DecoderConfig from_gguf(const GgufDescription& description) {
  try {
    const Json* architecture = description.metadata("general.architecture");
    if (architecture && *architecture == kOwnArchitecture) return from_own_gguf(description);
    return GgufConfigReader(description).read();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kConfig) throw;
    fail(ErrorCode::kFormat, "{}: {}", description.source, error.what());
  }
}

GgufMetadata to_gguf_metadata(const DecoderConfig& config) {
  config.validate({});
  if (config.family == Family::kTalpa) {
    GgufMetadata own = to_own_gguf_metadata(config);
    add_tokens(config, own);
    return own;
  }
  refuse_unwritable(config);
  const std::string prefix = std::string(adapter_of(config.family).gguf_architecture) + ".";
  const AttentionConfig& attention = config.attention;
  const MoeConfig& moe = config.moe;
  GgufMetadata metadata = {{"general.architecture", adapter_of(config.family).gguf_architecture}};
  const auto add = [&](const char* key, const Json& value) {
    metadata.emplace_back(prefix + key, value);
  };
  add("block_count", config.num_layers);
  add("context_length", config.max_positions);
  add("embedding_length", config.dim);
  add("feed_forward_length", config.has_moe() ? moe.hidden_dim : config.ffn_dim);
  add("attention.head_count", attention.num_heads);
  add("attention.head_count_kv", attention.num_kv_heads);
  add("attention.key_length", attention.head_dim);
  add("attention.value_length", attention.head_dim);
  add("attention.layer_norm_rms_epsilon", static_cast<float>(config.norm_eps));
  add("rope.dimension_count", attention.head_dim);
  add("rope.freq_base", static_cast<float>(attention.rope_theta));
  add("vocab_size", config.vocab_size);
  if (config.has_moe()) {
    add("expert_count", moe.num_experts);
    add("expert_used_count", moe.top_k);
    add("expert_feed_forward_length", moe.hidden_dim);
    if (moe.shared_hidden_dim > 0) add("expert_shared_feed_forward_length", moe.shared_hidden_dim);
  }
  add_tokens(config, metadata);
  verify(config, metadata);
  return metadata;
}

}  // namespace talpa
