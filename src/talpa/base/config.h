#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "talpa/base/error.h"

namespace talpa {

/// Configuration by one list of fields. A struct declares its settings once,
///
///   struct RouterConfig {
///     int top_k = 2;
///     static constexpr auto fields() {
///       return std::tuple{field("top_k", &RouterConfig::top_k, "experts a token is sent to")};
///     }
///     bool operator==(const RouterConfig&) const = default;
///   };
///
/// and reading and writing JSON and TOML, unknown-key errors with the nearest name,
/// `--set a.b=c` and the table of settings for --help all follow from it. A field may be
/// bool, an integer, a floating-point number, std::string, an enum with names (see
/// `enum_names`), another such struct, std::optional or std::vector of these, or
/// nlohmann::json. A struct with `void validate(const std::string& path) const` is checked
/// after reading.
///
/// Not a goal: schema evolution, references, comments that survive a round trip.
using Json = nlohmann::json;

template <class Class, class T>
struct Field {
  const char* name;
  T Class::*member;
  const char* help;
};

template <class Class, class T>
constexpr Field<Class, T> field(const char* name, T Class::*member, const char* help) {
  return {name, member, help};
}

/// Specialise for an enum: `template <> struct EnumNames<Score> { static constexpr
/// std::pair<Score, const char*> table[] = {{Score::kSoftmax, "softmax"}, ...}; };`
template <class E>
struct EnumNames;

template <class T>
concept Configurable = requires {
  T::fields();
};

/// Nearest of `names` to `name` by edit distance, or "" when none is near.
std::string nearest_name(std::string_view name, std::span<const std::string> names);
/// JSON has no NaN and no infinity: null stands for them.
Json number_or_null(double value);

/// Parses a TOML file into JSON; throws kConfig naming file, line and column.
Json read_toml(const std::filesystem::path& path);
Json parse_toml(std::string_view text, const std::string& source);
/// Parses a JSON file; throws kFormat naming file and byte.
Json read_json(const std::filesystem::path& path);
Json parse_json(std::string_view text, const std::string& source);
/// TOML text of a JSON object (null values are left out).
std::string write_toml(const Json& json);
/// Applies "a.b.c=value" to `json`; the value is read as TOML, or as a string if it is none.
/// Throws kUsage if there is no '='.
void apply_setting(Json& json, std::string_view assignment);

namespace detail {

inline std::string join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

[[noreturn]] inline void fail_type(const std::string& path, const char* expected,
                                   const Json& json) {
  std::string shown = json.dump();
  if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
  fail(ErrorCode::kConfig, "{}: expected {}, got {}", path, expected, shown);
}

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

}  // namespace detail

/// Name of an enum value.
template <class E>
requires std::is_enum_v<E>
const char* enum_name(E value) {
  for (const auto& [v, name] : EnumNames<E>::table)
    if (v == value) return name;
  return "?";
}

/// Fills `out` from `json`; keys that are absent keep their value. Throws kConfig with the
/// path of the setting.
template <class T>
void read_config(const Json& json, T& out, const std::string& path = {}) {
  if constexpr (std::is_same_v<T, Json>) {
    out = json;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) detail::fail_type(path, "true or false", json);
    out = json.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    if (!json.is_number_integer()) detail::fail_type(path, "an integer", json);
    const bool fits = json.is_number_unsigned() ? std::in_range<T>(json.get<std::uint64_t>())
                                                : std::in_range<T>(json.get<std::int64_t>());
    if (!fits) detail::fail_type(path, "an integer that fits", json);
    out = json.get<T>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) detail::fail_type(path, "a number", json);
    out = json.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) detail::fail_type(path, "a string", json);
    out = json.get<std::string>();
  } else if constexpr (std::is_enum_v<T>) {
    std::vector<std::string> names;
    for (const auto& [value, name] : EnumNames<T>::table) {
      if (json.is_string() && json.get_ref<const std::string&>() == name) {
        out = value;
        return;
      }
      names.emplace_back(name);
    }
    detail::fail_type(path, fmt::format("one of {}", fmt::join(names, ", ")).c_str(), json);
  } else if constexpr (detail::IsOptional<T>::value) {
    if (json.is_null()) {
      out.reset();
    } else {
      read_config(json, out.emplace(), path);
    }
  } else if constexpr (detail::IsVector<T>::value) {
    if (!json.is_array()) detail::fail_type(path, "a list", json);
    out.clear();
    for (std::size_t i = 0; i < json.size(); ++i) {
      typename T::value_type value{};
      read_config(json[i], value, fmt::format("{}[{}]", path, i));
      out.push_back(std::move(value));
    }
  } else {
    static_assert(Configurable<T>, "a field of this type cannot be configured");
    if (!json.is_object())
      detail::fail_type(path.empty() ? "configuration" : path, "a table", json);
    std::vector<std::string> names;
    std::apply([&](const auto&... f) { (names.emplace_back(f.name), ...); }, T::fields());
    for (const auto& [key, value] : json.items()) {
      if (std::find(names.begin(), names.end(), key) != names.end()) continue;
      const std::string near = nearest_name(key, names);
      fail(ErrorCode::kConfig, "unknown setting {}{}", detail::join(path, key),
           near.empty() ? "" : fmt::format("; did you mean {}?", detail::join(path, near)));
    }
    std::apply(
        [&](const auto&... f) {
          ((json.contains(f.name)
                ? read_config(json.at(f.name), out.*(f.member), detail::join(path, f.name))
                : void()),
           ...);
        },
        T::fields());
    if constexpr (requires { out.validate(path); }) out.validate(path);
  }
}

/// A value read from JSON, defaults where keys are absent.
template <class T>
T config_from(const Json& json, const std::string& path = {}) {
  T value{};
  read_config(json, value, path);
  return value;
}

/// JSON of a configuration, every field present.
template <class T>
Json config_to_json(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return enum_name(value);
  } else if constexpr (detail::IsOptional<T>::value) {
    return value ? config_to_json(*value) : Json();
  } else if constexpr (detail::IsVector<T>::value) {
    Json list = Json::array();
    for (const auto& item : value)
      list.push_back(config_to_json(static_cast<const typename T::value_type&>(item)));
    return list;
  } else if constexpr (Configurable<T>) {
    Json object = Json::object();
    std::apply(
        [&](const auto&... f) { ((object[f.name] = config_to_json(value.*(f.member))), ...); },
        T::fields());
    return object;
  } else {
    return value;
  }
}

/// One row of the table of settings.
struct SettingHelp {
  std::string path;
  std::string default_value;
  std::string help;
};

/// Every setting of a configuration with its default, nested ones by their dotted path.
template <Configurable T>
std::vector<SettingHelp> settings_of(const T& defaults = {}, const std::string& path = {}) {
  std::vector<SettingHelp> rows;
  std::apply(
      [&](const auto&... f) {
        auto add = [&](const auto& item) {
          const auto& value = defaults.*(item.member);
          const std::string full = detail::join(path, item.name);
          if constexpr (Configurable<std::remove_cvref_t<decltype(value)>>) {
            for (auto& row : settings_of(value, full)) rows.push_back(std::move(row));
          } else {
            rows.push_back({full, config_to_json(value).dump(), item.help});
          }
        };
        (add(f), ...);
      },
      T::fields());
  return rows;
}

}  // namespace talpa
