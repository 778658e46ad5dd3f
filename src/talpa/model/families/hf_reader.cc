#include "talpa/model/families/hf_reader.h"

#include <algorithm>
#include <utility>

namespace talpa {
namespace {

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

}  // namespace

bool HfReader::has(const char* key) const {
  const auto it = json_.find(key);
  return it != json_.end() && !it->is_null();
}

void HfReader::wrong_type(const std::string& key, const char* expected, const Json& value) const {
  fail(ErrorCode::kFormat, "{}: {}: expected {}, got {}", source_, key, expected, shown(value));
}

void HfReader::refuse(const std::string& key, const Json& value, const char* why) const {
  fail(ErrorCode::kUnsupported, "{}: {} = {}: {}", source_, key, shown(value), why);
}

int HfReader::to_int(const std::string& key, const Json& value) const {
  if (!value.is_number_integer()) wrong_type(key, "an integer", value);
  const bool fits = value.is_number_unsigned() ? std::in_range<int>(value.get<std::uint64_t>())
                                               : std::in_range<int>(value.get<std::int64_t>());
  if (!fits) wrong_type(key, "an integer below 2^31", value);
  return value.get<int>();
}

int HfReader::integer(const char* key) const {
  if (!has(key)) fail(ErrorCode::kFormat, "{}: key {} is missing", source_, key);
  return to_int(key, json_.at(key));
}

int HfReader::integer(const char* key, int fallback) const {
  return has(key) ? integer(key) : fallback;
}

double HfReader::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_.at(key);
  if (!value.is_number()) wrong_type(key, "a number", value);
  return value.get<double>();
}

bool HfReader::boolean(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_.at(key);
  if (!value.is_boolean()) wrong_type(key, "true or false", value);
  return value.get<bool>();
}

std::string HfReader::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_.at(key);
  if (!value.is_string()) wrong_type(key, "a string", value);
  return value.get<std::string>();
}

std::vector<int> HfReader::integers(const char* key) const {
  if (!has(key)) return {};
  const Json& value = json_.at(key);
  if (!value.is_array()) return {to_int(key, value)};
  std::vector<int> list;
  for (const Json& item : value) list.push_back(to_int(key, item));
  return list;
}

int HfReader::either(const char* first, const char* second) const {
  if (!has(first)) return integer(second);
  const int value = integer(first);
  if (has(second) && integer(second) != value)
    fail(ErrorCode::kFormat, "{}: {} = {} contradicts {} = {}", source_, first, value, second,
         integer(second));
  return value;
}

void read_hf_experts(const HfReader& reader, DecoderConfig& config) {
  MoeConfig& moe = config.moe;
  moe.num_experts = reader.either("num_experts", "num_local_experts");
  moe.top_k = reader.integer("num_experts_per_tok");
  moe.balance_loss = reader.number("router_aux_loss_coef", 0.001);
  moe.z_loss = reader.number("router_z_loss_coef", 0);
  const int step = reader.integer("decoder_sparse_step", 1);
  if (step < 1)
    fail(ErrorCode::kFormat, "{}: decoder_sparse_step: expected at least 1, got {}",
         reader.source(), step);
  const std::vector<int> dense = reader.integers("mlp_only_layers");
  // The bound keeps a hostile layer count from filling memory; validate() names the limit.
  for (int layer = 0; layer < std::min(config.num_layers, 1 << 12); ++layer) {
    const bool listed = std::find(dense.begin(), dense.end(), layer) != dense.end();
    if (listed || (layer + 1) % step != 0) moe.dense_layers.push_back(layer);
  }
}

void write_hf_experts(const DecoderConfig& config, const char* hidden_key, Json& json) {
  const MoeConfig& moe = config.moe;
  json["num_experts"] = moe.num_experts;
  json["num_local_experts"] = moe.num_experts;
  json["num_experts_per_tok"] = moe.top_k;
  json["router_aux_loss_coef"] = moe.balance_loss;
  if (moe.z_loss != 0) json["router_z_loss_coef"] = moe.z_loss;
  json["output_router_logits"] = false;
  json[hidden_key] = moe.hidden_dim;
}

}  // namespace talpa
