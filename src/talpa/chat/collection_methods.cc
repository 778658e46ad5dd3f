// Methods of dictionaries and lists.
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"

namespace talpa::chat {

namespace {

Value get(Call& call) {
  const Parameters given(call, {"key", "default"}, 1);
  if (const Value* found = call.self.dict().find(given[0])) return *found;
  return given.has(1) ? given[1] : Value(nullptr);
}

Value dict_items(Call& call) {
  const Parameters given(call, {});
  ListBuilder out;
  for (const auto& [key, value] : call.self.dict().entries())
    out.add(Value::list({key, value}, true));
  return out.take();
}

Value keys(Call& call) {
  const Parameters given(call, {});
  return items_of(call.self);
}

Value values(Call& call) {
  const Parameters given(call, {});
  ListBuilder out;
  for (const auto& [key, value] : call.self.dict().entries()) out.add(value);
  return out.take();
}

Value copy(Call& call) {
  const Parameters given(call, {});
  return call.self;
}

Value index(Call& call) {
  const Parameters given(call, {"value"}, 1);
  const auto& items = call.self.list().items;
  for (std::size_t i = 0; i < items.size(); ++i)
    if (equal(items[i], given[0])) return static_cast<std::int64_t>(i);
  refuse("the value is not in the list");
}

Value count_items(Call& call) {
  const Parameters given(call, {"value"}, 1);
  std::int64_t count = 0;
  for (const Value& item : call.self.list().items) count += equal(item, given[0]);
  return count;
}

constexpr NamedNative kDictMethods[] = {
    {"get", get}, {"items", dict_items}, {"keys", keys}, {"values", values}, {"copy", copy},
};
constexpr NamedNative kListMethods[] = {{"index", index}, {"count", count_items}, {"copy", copy}};

}  // namespace

Native find_method(Kind kind, std::string_view name) {
  if (kind == Kind::kString) return find_string_method(name);
  if (kind == Kind::kDict) return find_in(kDictMethods, name);
  if (kind == Kind::kList) return find_in(kListMethods, name);
  return nullptr;
}

}  // namespace talpa::chat
