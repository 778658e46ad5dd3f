#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "talpa/chat/value.h"

namespace talpa::chat {

// Python's operators. What is undefined, or of a type that an operator does not take, throws
// kFormat.

bool truth(const Value& value);
/// Never throws; what is undefined equals only what is undefined.
bool equal(const Value& a, const Value& b);
/// a < b of numbers, texts or sequences.
bool less(const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);

/// "+", "-", "*", "/", "//", "%", "**", "~".
Value binary(std::string_view operation, const Value& a, const Value& b);
Value negated(const Value& value);

/// object[index] and object.name. What is not there is undefined; methods are callable.
Value item_of(const Value& object, const Value& index);
Value attribute_of(const Value& object, const std::string& name);
/// item_of along a path such as "function.name" or "0".
Value item_at_path(const Value& object, const Value& path);
/// object[start:stop:step]; what is none or null is absent.
Value slice_of(const Value& object, const Value* start, const Value* stop, const Value* step);

/// What a loop runs over: items, characters, keys; nothing if undefined.
Value items_of(const Value& value);
/// Number of items, characters, keys.
std::int64_t length_of(const Value& value);

/// A list under construction; throws kFormat as soon as it is larger than a value may be.
class ListBuilder {
 public:
  void add(Value value);
  Value take(bool tuple = false) { return Value::list(std::move(items_), tuple); }

 private:
  std::vector<Value> items_;
  std::size_t size_ = 0;
};

}  // namespace talpa::chat
