#include "talpa/chat/operators.h"

#include <algorithm>

#include "talpa/chat/find_text.h"
#include "talpa/chat/position.h"

namespace talpa::chat {

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInteger:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kString:
      return !value.string().empty();
    case Kind::kList:
      return !value.list().items.empty();
    case Kind::kDict:
      return !value.dict().entries().empty();
    default:
      return true;
  }
}

namespace {

bool equal_lists(const List& a, const List& b) {
  return a.tuple == b.tuple &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (!other || !equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      return a.string() == b.string();
    case Kind::kList:
      return equal_lists(a.list(), b.list());
    case Kind::kDict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::kNamespace:
      return &a.name_space() == &b.name_space();
    case Kind::kCallable:
      return &a.callable() == &b.callable();
    case Kind::kLoop:
      return &a.loop() == &b.loop();
    default:
      return true;
  }
}

bool less(const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (!value->is_defined()) refuse("{}", value->message());
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer();
  if (a.is_number() && b.is_number()) return a.number() < b.number();
  if (a.is(Kind::kString) && b.is(Kind::kString)) return a.string() < b.string();
  if (a.is(Kind::kList) && b.is(Kind::kList) && a.list().tuple == b.list().tuple) {
    const auto& left = a.list().items;
    const auto& right = b.list().items;
    for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
      if (!equal(left[i], right[i])) return less(left[i], right[i]);
    return left.size() < right.size();
  }
  refuse("'{}' and '{}' have no order", a.type_name(), b.type_name());
}

bool contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!item.is(Kind::kString))
        refuse("'in <string>' requires string as left operand, not {}", item.type_name());
      return find_text(container.string(), item.string()) != std::string_view::npos;
    case Kind::kDict:
      return container.dict().find(item) != nullptr;
    case Kind::kList: {
      const auto& items = container.list().items;
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& other) { return equal(other, item); });
    }
    default:
      refuse("argument of type '{}' is not iterable", container.type_name());
  }
}

void ListBuilder::add(Value value) {
  constexpr std::size_t kItem = 32;
  size_ += kItem + value.size();
  if (size_ > kMaxValueSize) refuse("a list is larger than {} bytes", kMaxValueSize);
  items_.push_back(std::move(value));
}

}  // namespace talpa::chat
