// Items, attributes and slices.
#include <algorithm>
#include <charconv>

#include "talpa/chat/characters.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/position.h"
#include "talpa/chat/runtime.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

Value missing(const Value& object, const std::string& name) {
  if (object.is(Kind::kNone))
    return Value::undefined(fmt::format("'None' has no attribute '{}'", name));
  return Value::undefined(
      fmt::format("'{} object' has no attribute '{}'", object.type_name(), name.substr(0, 100)));
}

/// Methods that would change their object; as in transformers, templates may not call them.
bool changes_object(Kind kind, std::string_view name) {
  static constexpr std::string_view kOfLists[] = {"append", "extend",  "insert", "pop",
                                                  "remove", "reverse", "sort",   "clear"};
  static constexpr std::string_view kOfDicts[] = {"update", "pop", "popitem", "setdefault",
                                                  "clear"};
  if (kind == Kind::kList)
    return std::find(std::begin(kOfLists), std::end(kOfLists), name) != std::end(kOfLists);
  return kind == Kind::kDict &&
         std::find(std::begin(kOfDicts), std::end(kOfDicts), name) != std::end(kOfDicts);
}

Value loop_attribute(const Value& object, const std::string& name) {
  const Loop& loop = object.loop();
  const auto& items = loop.items.list().items;
  const auto count = static_cast<std::int64_t>(items.size());
  if (name == "index") return loop.index + 1;
  if (name == "index0") return loop.index;
  if (name == "revindex") return count - loop.index;
  if (name == "revindex0") return count - loop.index - 1;
  if (name == "first") return loop.index == 0;
  if (name == "last") return loop.index == count - 1;
  if (name == "length") return count;
  if (name == "depth") return static_cast<std::int64_t>(1);
  if (name == "depth0") return static_cast<std::int64_t>(0);
  if (name == "previtem")
    return loop.index > 0 ? items[static_cast<std::size_t>(loop.index - 1)]
                          : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return loop.index + 1 < count ? items[static_cast<std::size_t>(loop.index + 1)]
                                  : Value::undefined("there is no next item");
  return missing(object, name);
}

Value sequence_item(const Value& object, std::int64_t index) {
  const std::int64_t length = length_of(object);
  if (index < 0) index += length;
  if (index < 0 || index >= length)
    return Value::undefined(fmt::format("{} object has no element {}", object.type_name(), index));
  if (object.is(Kind::kList)) return object.list().items[static_cast<std::size_t>(index)];
  std::size_t place = 0;
  const std::string& text = object.string();
  for (; index > 0; --index) place += text::character_size(text, place);
  return text.substr(place, text::character_size(text, place));
}

std::int64_t bound(const Value* value, std::int64_t absent) {
  if (!value || value->is(Kind::kNone)) return absent;
  if (!value->is_defined()) refuse("{}", value->message());
  if (!value->is_integral()) refuse("slice indices must be integers or None");
  return value->integer();
}

/// A bound of a slice as an index: negative ones count from the end, all are clamped.
std::int64_t clamped(std::int64_t value, std::int64_t length, bool backwards) {
  if (value < 0) value = std::max<std::int64_t>(value + length, backwards ? -1 : 0);
  return std::min(value, backwards ? length - 1 : length);
}

}  // namespace

Value attribute_of(const Value& object, const std::string& name) {
  switch (object.kind()) {
    case Kind::kUndefined:
      refuse("{}", object.message());
    case Kind::kLoop:
      return loop_attribute(object, name);
    case Kind::kNamespace: {
      const auto& attributes = object.name_space().attributes;
      const auto found = attributes.find(name);
      return found == attributes.end() ? missing(object, name) : found->second;
    }
    default:
      break;
  }
  if (const Native method = find_method(object.kind(), name))
    return Callable{name, method, object, nullptr, nullptr};
  if (changes_object(object.kind(), name))
    return Value::undefined(fmt::format("{}.{} would change a value, which templates may not",
                                        object.type_name(), name));
  if (object.is(Kind::kDict))
    if (const Value* found = object.dict().find(name)) return *found;
  return missing(object, name);
}

Value item_of(const Value& object, const Value& index) {
  if (!object.is_defined()) refuse("{}", object.message());
  if (object.is(Kind::kDict) && !index.is(Kind::kList) && !index.is(Kind::kDict) &&
      index.is_defined())
    if (const Value* found = object.dict().find(index)) return *found;
  if ((object.is(Kind::kString) || object.is(Kind::kList)) && index.is_integral())
    return sequence_item(object, index.integer());
  if (index.is(Kind::kString)) return attribute_of(object, index.string());
  return Value::undefined(fmt::format("'{} object' has no such item", object.type_name()));
}

Value item_at_path(const Value& object, const Value& path) {
  if (path.is_integral()) return item_of(object, path);
  if (!path.is(Kind::kString)) refuse("the name of an attribute is needed");
  Value result = object;
  std::string_view rest = path.string();
  for (bool more = true; more;) {
    const auto dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    std::int64_t number = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool is_number = parsed.ec == std::errc{} && parsed.ptr == part.data() + part.size();
    result = item_of(result, is_number ? Value(number) : Value(part));
    more = dot != std::string_view::npos;
    if (more) rest.remove_prefix(dot + 1);
  }
  return result;
}

Value slice_of(const Value& object, const Value* start, const Value* stop, const Value* step) {
  if (!object.is_defined()) refuse("{}", object.message());
  if (!object.is(Kind::kString) && !object.is(Kind::kList))
    refuse("'{}' object has no slices", object.type_name());
  const std::int64_t stride = bound(step, 1);
  if (stride == 0) refuse("slice step cannot be zero");
  const bool backwards = stride < 0;
  const std::int64_t length = length_of(object);
  const std::int64_t first = start && !start->is(Kind::kNone)
                                 ? clamped(bound(start, 0), length, backwards)
                                 : (backwards ? length - 1 : 0);
  const std::int64_t end = stop && !stop->is(Kind::kNone)
                               ? clamped(bound(stop, 0), length, backwards)
                               : (backwards ? -1 : length);
  const std::int64_t gap = backwards ? first - end : end - first;
  const std::int64_t width = backwards ? (stride == INT64_MIN ? INT64_MAX : -stride) : stride;
  const std::int64_t count = gap > 0 ? (gap - 1) / width + 1 : 0;
  std::vector<std::size_t> starts;
  if (object.is(Kind::kString)) starts = character_starts(object.string());
  std::string text;
  ListBuilder items;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto place = static_cast<std::size_t>(first + i * stride);
    if (object.is(Kind::kList)) {
      items.add(object.list().items[place]);
    } else {
      text.append(object.string(), starts[place], starts[place + 1] - starts[place]);
    }
  }
  return object.is(Kind::kList) ? items.take(object.list().tuple) : Value(std::move(text));
}

Value items_of(const Value& value) {
  ListBuilder out;
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.take();
    case Kind::kList:
      return value;
    case Kind::kString:
      for (std::size_t i = 0; i < value.string().size();) {
        const auto size = static_cast<std::size_t>(text::character_size(value.string(), i));
        out.add(value.string().substr(i, size));
        i += size;
      }
      return out.take();
    case Kind::kDict:
      for (const auto& [key, item] : value.dict().entries()) out.add(key);
      return out.take();
    default:
      refuse("'{}' object is not iterable", value.type_name());
  }
}

std::int64_t length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kList:
      return static_cast<std::int64_t>(value.list().items.size());
    case Kind::kString:
      return character_count(value.string());
    case Kind::kDict:
      return static_cast<std::int64_t>(value.dict().entries().size());
    default:
      refuse("object of type '{}' has no len()", value.type_name());
  }
}

}  // namespace talpa::chat
