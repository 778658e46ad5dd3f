// Filters that apply another filter or a test to every item.
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"

namespace talpa::chat {

namespace {

/// As in jinja2, whatever is false has no items here, even where it cannot be looped over.
Value items_or_none(const Value& value) { return truth(value) ? items_of(value) : Value::list({}); }

const std::string& name_argument(const Call& call, std::size_t index) {
  if (call.positional.size() <= index || !call.positional[index].is(Kind::kString))
    refuse("{}() needs a name as argument {}", call.name, index + 1);
  return call.positional[index].string();
}

Native known_test(const std::string& name) {
  const Native test = find_test(name);
  if (!test) refuse("No test named '{}'.", name);
  return test;
}

/// map(attribute="name", default=...)
Value map_attribute(Call& call) {
  const Parameters given(call, {"attribute", "default"}, 1);
  ListBuilder out;
  const Value items = items_or_none(call.self);
  for (const Value& item : items.list().items) {
    Value value = item_at_path(item, given[0]);
    out.add(!value.is_defined() && given.has(1) ? given[1] : std::move(value));
  }
  return out.take();
}

/// map("filter", arguments...)
Value map(Call& call) {
  if (call.positional.empty()) return map_attribute(call);
  const std::string& name = name_argument(call, 0);
  const Native filter = find_filter(name);
  if (!filter) refuse("No filter named '{}'.", name);
  ListBuilder out;
  const Value items = items_or_none(call.self);
  for (const Value& item : items.list().items) out.add(apply(filter, name, call, 1, item));
  return out.take();
}

/// select and reject: by the items themselves, or by an attribute of them.
template <bool kKeep, bool kByAttribute>
Value select(Call& call) {
  if (kByAttribute && call.positional.empty()) refuse("Missing parameter for attribute name");
  const std::size_t test_index = kByAttribute ? 1 : 0;
  const bool tests = call.positional.size() > test_index;
  const std::string name = tests ? name_argument(call, test_index) : "";
  const Native test = tests ? known_test(name) : nullptr;
  ListBuilder out;
  const Value items = items_or_none(call.self);
  for (const Value& item : items.list().items) {
    const Value subject = kByAttribute ? item_at_path(item, call.positional[0]) : item;
    const bool holds = truth(tests ? apply(test, name, call, test_index + 1, subject) : subject);
    if (holds == kKeep) out.add(item);
  }
  return out.take();
}

constexpr NamedNative kSelectionFilters[] = {
    {"map", map},
    {"select", select<true, false>},
    {"reject", select<false, false>},
    {"selectattr", select<true, true>},
    {"rejectattr", select<false, true>},
};

}  // namespace

Native find_selection_filter(std::string_view name) { return find_in(kSelectionFilters, name); }

Native find_filter(std::string_view name) {
  if (const Native filter = find_text_filter(name)) return filter;
  if (const Native filter = find_sequence_filter(name)) return filter;
  return find_selection_filter(name);
}

}  // namespace talpa::chat
