#include "talpa/chat/value.h"

#include <algorithm>

#include "talpa/chat/position.h"

namespace talpa::chat {

namespace {

constexpr std::size_t kItemSize = 32;

/// Text under which equal keys, of whatever type, are found.
std::string key_text(const Value& key) {
  switch (key.kind()) {
    case Kind::kString:
      return "s" + key.string();
    case Kind::kNone:
      return "n";
    case Kind::kBool:
    case Kind::kInteger:
      return fmt::format("i{}", key.integer());
    case Kind::kFloat:
      return fmt::format("i{}", key.number());
    default:
      refuse("unhashable type: '{}'", key.type_name());
  }
}

void check_bounds(std::size_t size, int depth) {
  if (size > kMaxValueSize) refuse("a value is larger than {} bytes", kMaxValueSize);
  if (depth > kMaxValueDepth) refuse("values are nested deeper than {}", kMaxValueDepth);
}

}  // namespace

Value::Value(std::string value)
    : storage_(std::make_shared<const std::string>((check_bounds(value.size(), 0), value))) {}

Value::Value(Dict value) : storage_(std::make_shared<const Dict>(std::move(value))) {}

Value::Value(Callable value) : storage_(std::make_shared<const Callable>(std::move(value))) {}

Value Value::list(std::vector<Value> items, bool tuple) {
  List list{std::move(items), tuple, kItemSize, 1};
  for (const Value& item : list.items) {
    list.size += kItemSize + item.size();
    list.depth = std::max(list.depth, item.depth() + 1);
    check_bounds(list.size, list.depth);
  }
  Value value;
  value.storage_ = std::make_shared<const List>(std::move(list));
  return value;
}

Value Value::undefined(std::string message) {
  Value value;
  value.storage_ = std::make_shared<const Undefined>(Undefined{std::move(message)});
  return value;
}

std::int64_t Value::integer() const {
  return is(Kind::kBool) ? boolean() : std::get<std::int64_t>(storage_);
}

double Value::number() const {
  return is(Kind::kFloat) ? std::get<double>(storage_) : static_cast<double>(integer());
}

std::string_view Value::type_name() const {
  static constexpr std::string_view kNames[] = {"Undefined", "NoneType", "bool",       "int",
                                                "float",     "str",      "list",       "dict",
                                                "Namespace", "function", "LoopContext"};
  if (is(Kind::kList) && list().tuple) return "tuple";
  return kNames[storage_.index()];
}

std::size_t Value::size() const {
  switch (kind()) {
    case Kind::kString:
      return string().size();
    case Kind::kList:
      return list().size;
    case Kind::kDict:
      return dict().size();
    default:
      return 1;
  }
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kList:
      return list().depth;
    case Kind::kDict:
      return dict().depth();
    case Kind::kCallable:
      return 1 + callable().self.depth();
    case Kind::kLoop:
      return 1 + loop().items.depth();
    default:
      return 0;
  }
}

void Dict::set(const Value& key, Value value) {
  const auto [place, fresh] = index_.emplace(key_text(key), entries_.size());
  depth_ = std::max(depth_, value.depth() + 1);
  size_ += value.size() + (fresh ? 2 * kItemSize + key.size() : 0);
  check_bounds(size_, depth_);
  if (fresh) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[place->second].second = std::move(value);
  }
}

const Value* Dict::find(const Value& key) const {
  const auto found = index_.find(key_text(key));
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

}  // namespace talpa::chat
