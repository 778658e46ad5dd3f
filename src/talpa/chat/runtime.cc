#include "talpa/chat/runtime.h"

#include <algorithm>

#include "talpa/chat/operators.h"

namespace talpa::chat {

Parameters::Parameters(const Call& call, std::initializer_list<std::string_view> names,
                       std::size_t required)
    : call_(call), names_(names), values_(names.size(), nullptr) {
  if (call.positional.size() > names.size())
    refuse("{}() takes at most {} arguments, got {}", call.name, names.size(),
           call.positional.size());
  for (std::size_t i = 0; i < call.positional.size(); ++i) values_[i] = &call.positional[i];
  for (const auto& [name, value] : call.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) refuse("{}() has no parameter '{}'", call.name, name);
    const Value*& place = values_[static_cast<std::size_t>(found - names_.begin())];
    if (place) refuse("{}() got several values for '{}'", call.name, name);
    place = &value;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!values_[i]) refuse("{}() needs the argument '{}'", call.name, names_[i]);
}

std::string Parameters::text(std::size_t index, std::string_view absent) const {
  if (!has(index) || (*this)[index].is(Kind::kNone)) return std::string(absent);
  const Value& value = (*this)[index];
  if (!value.is(Kind::kString))
    refuse("{}() needs text as '{}', got {}", call_.name, names_[index], value.type_name());
  return value.string();
}

std::int64_t Parameters::integer(std::size_t index, std::int64_t absent) const {
  if (!has(index) || (*this)[index].is(Kind::kNone)) return absent;
  const Value& value = (*this)[index];
  if (!value.is_integral())
    refuse("{}() needs an integer as '{}', got {}", call_.name, names_[index], value.type_name());
  return value.integer();
}

bool Parameters::boolean(std::size_t index, bool absent) const {
  return has(index) ? truth((*this)[index]) : absent;
}

Value run(Native function, Call& call) {
  std::size_t cost = call.self.size();
  for (const Value& value : call.positional) cost += value.size();
  for (const auto& [name, value] : call.named) cost += value.size();
  call.runtime.spend(cost);
  Value result = function(call);
  call.runtime.spend(result.size());
  return result;
}

Value apply(Native function, std::string_view name, const Call& call, std::size_t first,
            const Value& value) {
  Call inner{call.runtime, name, value, {}, call.named};
  inner.positional.assign(call.positional.begin() + static_cast<std::ptrdiff_t>(first),
                          call.positional.end());
  return run(function, inner);
}

}  // namespace talpa::chat
