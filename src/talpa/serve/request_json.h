#pragma once

#include "talpa/chat/chat_template.h"
#include "talpa/serve/api_error.h"

namespace talpa::serve {

using chat::OrderedJson;

/// The object in a request's body. Throws ApiError (400) for what is not JSON or no object, for
/// nesting deeper than 64 levels and for objects of more than 1024 keys.
OrderedJson parse_body(const std::string& body);

/// Fills the fields() of `out`: absent keys and nulls keep the default, keys that are not known are
/// ignored, since clients send what other servers know. Throws ApiError naming the field.
template <class T>
void read_request(const OrderedJson& json, T& out, const std::string& path = {}) {
  auto read = [&](const auto& field) {
    const auto found = json.find(field.name);
    if (found == json.end() || found->is_null()) return;
    const std::string name = path.empty() ? field.name : path + "." + field.name;
    auto& value = out.*(field.member);
    using Value = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, OrderedJson>) {
      value = *found;
    } else if constexpr (Configurable<Value>) {
      if (!found->is_object()) fail_field(name, "expected an object");
      read_request(*found, value, name);
    } else {
      try {
        read_config(Json(*found), value, name);
      } catch (const Error& error) {
        ApiError refusal(400, error.what());
        refusal.param = name;
        throw refusal;
      }
    }
  };
  std::apply([&](const auto&... fields) { (read(fields), ...); }, T::fields());
}

/// A body as a request of type T, validated.
template <class T>
T request_of(const std::string& body) {
  T request;
  read_request(parse_body(body), request);
  return request;
}

}  // namespace talpa::serve
