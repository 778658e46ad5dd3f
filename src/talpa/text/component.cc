#include "talpa/text/component.h"

#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {
/// A place is named by all that is around it, so its length bounds the depth.
constexpr std::size_t kMaxPlace = 8192;
}  // namespace

Component::Component(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
  if (!json.is_object()) fail(ErrorCode::kFormat, "{}: expected an object", where_);
  if (where_.size() > kMaxPlace)
    fail(ErrorCode::kFormat, "{}...: components are nested too deep", where_.substr(0, 200));
}

const Json* Component::find(const char* key) {
  read_.insert(key);
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

const Json& Component::at(const char* key) {
  const Json* value = find(key);
  if (!value) fail(ErrorCode::kFormat, "{}: key \"{}\" is missing", where_, key);
  return *value;
}

const std::string& Component::type() {
  const Json& value = at("type");
  if (!value.is_string()) fail_format("\"type\" is not a string");
  return value.get_ref<const std::string&>();
}

std::string Component::string(const char* key) {
  const Json& value = at(key);
  if (!value.is_string()) fail_format(fmt::format("\"{}\" is not a string", key));
  return value.get<std::string>();
}

std::string Component::string(const char* key, std::string absent) {
  return find(key) ? string(key) : std::move(absent);
}

bool Component::boolean(const char* key) {
  const Json& value = at(key);
  if (!value.is_boolean()) fail_format(fmt::format("\"{}\" is not true or false", key));
  return value.get<bool>();
}

bool Component::boolean(const char* key, bool absent) { return find(key) ? boolean(key) : absent; }

int Component::integer(const char* key) {
  const Json& value = at(key);
  if (!value.is_number_integer() || value < 0 || value > 0x7fffffff)
    fail_format(fmt::format("\"{}\" is not an integer of 0 to 2147483647", key));
  return value.get<int>();
}

int Component::integer(const char* key, int absent) { return find(key) ? integer(key) : absent; }

char32_t Component::character(const char* key) {
  const std::string value = string(key);
  if (value.empty() || static_cast<std::size_t>(character_size(value, 0)) != value.size())
    fail_format(fmt::format("\"{}\" is not a single character", key));
  return character_at(value, 0).code;
}

const Json& Component::array(const char* key) {
  const Json& value = at(key);
  if (!value.is_array()) fail_format(fmt::format("\"{}\" is not a list", key));
  return value;
}

Regex Component::pattern(const char* key) {
  Component pattern(at(key), fmt::format("{}.{}", where_, key));
  if (pattern.find("String")) {
    const std::string literal = pattern.string("String");
    pattern.done();
    return Regex(escape_regex(literal));
  }
  const std::string expression = pattern.string("Regex");
  pattern.done();
  return Regex(expression);
}

void Component::done() const {
  for (const auto& [key, value] : json_.items())
    if (!read_.contains(key))
      fail(ErrorCode::kUnsupported, "{}: option \"{}\" is not supported", where_, key);
}

void Component::fail_unknown(std::string_view kind, std::string_view name) const {
  fail(ErrorCode::kUnsupported, "{}: {} \"{}\" is not supported", where_, kind, name);
}

void Component::fail_format(const std::string& what) const {
  fail(ErrorCode::kFormat, "{}: {}", where_, what);
}

}  // namespace talpa::text
