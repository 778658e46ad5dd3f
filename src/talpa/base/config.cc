#include "talpa/base/config.h"

namespace {
[[noreturn]] void fail_toml() {
  talpa::fail(talpa::ErrorCode::kConfig, "TOML: unexpected text in a key or value");
}
}  // namespace

// toml++ asserts what hostile text may break; it must get an error instead of an abort, in every
// build type.
#undef NDEBUG
#define TOML_ASSERT(expression) ((expression) ? void() : fail_toml())
#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "talpa/base/file.h"

namespace talpa {

namespace {

constexpr std::uint64_t kMaxConfigBytes = 64u << 20;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

Json to_json(const toml::node& node, const std::string& source) {
  if (const auto* table = node.as_table()) {
    Json object = Json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value, source);
    return object;
  }
  if (const auto* array = node.as_array()) {
    Json list = Json::array();
    for (const auto& value : *array) list.push_back(to_json(value, source));
    return list;
  }
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_boolean()) return value->get();
  fail(ErrorCode::kConfig, "{}:{}: dates and times are not settings", source,
       node.source().begin.line);
}

toml::array to_toml_array(const Json& json);

toml::table to_toml_table(const Json& json) {
  toml::table table;
  for (const auto& [key, value] : json.items()) {
    if (value.is_object())
      table.insert(key, to_toml_table(value));
    else if (value.is_array())
      table.insert(key, to_toml_array(value));
    else if (value.is_string())
      table.insert(key, value.get<std::string>());
    else if (value.is_boolean())
      table.insert(key, value.get<bool>());
    else if (value.is_number_integer())
      table.insert(key, value.get<std::int64_t>());
    else if (value.is_number())
      table.insert(key, value.get<double>());
  }
  return table;
}

toml::array to_toml_array(const Json& json) {
  toml::array array;
  for (const auto& value : json) {
    if (value.is_object())
      array.push_back(to_toml_table(value));
    else if (value.is_array())
      array.push_back(to_toml_array(value));
    else if (value.is_string())
      array.push_back(value.get<std::string>());
    else if (value.is_boolean())
      array.push_back(value.get<bool>());
    else if (value.is_number_integer())
      array.push_back(value.get<std::int64_t>());
    else if (value.is_number())
      array.push_back(value.get<double>());
  }
  return array;
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> names) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 2);
  for (const auto& candidate : names) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

Json parse_toml(std::string_view text, const std::string& source) {
  try {
    return to_json(toml::parse(text, source), source);
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    fail(ErrorCode::kConfig, "{}:{}:{}: {}", source, at.line, at.column, error.description());
  }
}

Json read_toml(const std::filesystem::path& path) {
  return parse_toml(read_text(path, kMaxConfigBytes), path.string());
}

Json parse_json(std::string_view text, const std::string& source) {
  // A hostile file may nest without end; the parser recurses when the value is destroyed.
  constexpr int kMaxDepth = 200;
  auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth)
      fail(ErrorCode::kFormat, "{}: JSON nested deeper than {} levels", source, kMaxDepth);
    return true;
  };
  try {
    return Json::parse(text, bounded);
  } catch (const Json::parse_error& error) {
    fail(ErrorCode::kFormat, "{}: not JSON at byte {}: {}", source, error.byte, error.what());
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_text(path, kMaxConfigBytes), path.string());
}

std::string write_toml(const Json& json) {
  std::ostringstream out;
  out << toml::toml_formatter(to_toml_table(json)) << '\n';
  return out.str();
}

void apply_setting(Json& json, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0)
    fail(ErrorCode::kUsage, "--set {}: expected NAME=VALUE", assignment);
  Json value;
  try {
    const std::string line = "v = " + std::string(assignment.substr(equals + 1));
    value = parse_toml(line, "--set").at("v");
  } catch (const Error&) {
    value = std::string(assignment.substr(equals + 1));
  }
  Json* at = &json;
  std::string_view path = assignment.substr(0, equals);
  path = path.substr(0, path.find_last_not_of(' ') + 1);
  while (true) {
    const std::size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    if (!at->is_object() && !at->is_null())
      fail(ErrorCode::kUsage, "--set {}: {} is not inside a table", assignment, key);
    at = &(*at)[key];
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
  }
  *at = std::move(value);
}

}  // namespace talpa
