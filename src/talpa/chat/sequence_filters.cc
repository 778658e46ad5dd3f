// Filters on whole sequences and dictionaries.
#include <algorithm>

#include "talpa/chat/characters.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

Value length(Call& call) {
  const Parameters given(call, {});
  return length_of(call.self);
}

Value to_list(Call& call) {
  const Parameters given(call, {});
  return Value::list(items_of(call.self).list().items);
}

Value first(Call& call) {
  const Parameters given(call, {});
  const Value items = items_of(call.self);
  if (items.list().items.empty()) return Value::undefined("No first item, sequence was empty.");
  return items.list().items.front();
}

Value last(Call& call) {
  const Parameters given(call, {});
  const Value items = items_of(call.self);
  if (items.list().items.empty()) return Value::undefined("No last item, sequence was empty.");
  return items.list().items.back();
}

Value join_items(Call& call) {
  const Parameters given(call, {"d", "attribute"});
  const std::string separator = given.has(0) ? text_of(given[0]) : "";
  const Value items = items_of(call.self);
  TextBuilder out;
  bool first_item = true;
  for (const Value& item : items.list().items) {
    if (!first_item) out.add(separator);
    first_item = false;
    out.add(text_of(given.has(1) ? item_at_path(item, given[1]) : item));
  }
  return out.take();
}

Value reverse(Call& call) {
  const Parameters given(call, {});
  std::vector<Value> items = items_of(call.self).list().items;
  std::reverse(items.begin(), items.end());
  if (!call.self.is(Kind::kString)) return Value::list(std::move(items));
  TextBuilder out;
  for (const Value& item : items) out.add(item.string());
  return out.take();
}

Value item_pairs(Call& call) {
  const Parameters given(call, {});
  if (call.self.is(Kind::kUndefined)) return Value::list({});
  if (!call.self.is(Kind::kDict)) refuse("Can only get item pairs from a mapping.");
  Call inner{call.runtime, "items", call.self, {}, {}};
  return find_method(Kind::kDict, "items")(inner);
}

/// Texts are compared without regard to case unless asked for.
Value sort_key(Value value, bool case_sensitive) {
  if (case_sensitive || !value.is(Kind::kString)) return value;
  return lower(value.string());
}

struct Keyed {
  Value key;
  Value value;
};

Value sorted(std::vector<Keyed> entries, bool reversed) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Keyed& a, const Keyed& b) {
    return reversed ? less(b.key, a.key) : less(a.key, b.key);
  });
  std::vector<Value> items;
  items.reserve(entries.size());
  for (Keyed& entry : entries) items.push_back(std::move(entry.value));
  return Value::list(std::move(items));
}

/// The items with what `attribute` (one path, or several between commas) says they sort by.
std::vector<Keyed> keyed(const Value& items, const Value* attribute, bool case_sensitive) {
  std::vector<Keyed> entries;
  for (const Value& item : items.list().items) {
    Value key = item;
    if (attribute && attribute->is(Kind::kString) &&
        attribute->string().find(',') != std::string::npos)
      refuse("sorting by several attributes is not supported");
    if (attribute && !attribute->is(Kind::kNone)) key = item_at_path(item, *attribute);
    entries.push_back({sort_key(std::move(key), case_sensitive), item});
  }
  return entries;
}

Value sort(Call& call) {
  const Parameters given(call, {"reverse", "case_sensitive", "attribute"});
  const Value items = items_of(call.self);
  call.runtime.spend(16 * items.size());
  return sorted(keyed(items, given.has(2) ? &given[2] : nullptr, given.boolean(1, false)),
                given.boolean(0, false));
}

Value dict_sort(Call& call) {
  const Parameters given(call, {"case_sensitive", "by", "reverse"});
  const std::string by = given.text(1, "key");
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  call.runtime.spend(16 * call.self.size());
  Call items{call.runtime, "items", call.self, {}, {}};
  const Value pairs = item_pairs(items);
  const Value place(std::int64_t{by == "key" ? 0 : 1});
  return sorted(keyed(pairs, &place, given.boolean(0, false)), given.boolean(2, false));
}

Value unique(Call& call) {
  const Parameters given(call, {"case_sensitive", "attribute"});
  Dict seen;
  ListBuilder out;
  for (Keyed& entry :
       keyed(items_of(call.self), given.has(1) ? &given[1] : nullptr, given.boolean(0, false))) {
    if (seen.find(entry.key)) continue;
    seen.set(entry.key, nullptr);
    out.add(std::move(entry.value));
  }
  return out.take();
}

/// The least or, if `most`, the greatest item.
template <bool kMost>
Value extreme(Call& call) {
  const Parameters given(call, {"case_sensitive", "attribute"});
  const std::vector<Keyed> entries =
      keyed(items_of(call.self), given.has(1) ? &given[1] : nullptr, given.boolean(0, false));
  if (entries.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Keyed* best = &entries.front();
  for (const Keyed& entry : entries)
    if (kMost ? less(best->key, entry.key) : less(entry.key, best->key)) best = &entry;
  return best->value;
}

Value sum(Call& call) {
  const Parameters given(call, {"attribute", "start"});
  Value total = given.has(1) ? given[1] : Value(std::int64_t{0});
  const Value items = items_of(call.self);
  for (const Value& item : items.list().items) {
    call.runtime.spend(total.size());
    total = binary("+", total, given.has(0) ? item_at_path(item, given[0]) : item);
  }
  return total;
}

Value fallback(Call& call) {
  const Parameters given(call, {"default_value", "boolean"});
  const bool use = !call.self.is_defined() || (given.boolean(1, false) && !truth(call.self));
  return !use ? call.self : given.has(0) ? given[0] : Value("");
}

constexpr NamedNative kSequenceFilters[] = {
    {"length", length},      {"count", length},     {"list", to_list},
    {"first", first},        {"last", last},        {"join", join_items},
    {"reverse", reverse},    {"items", item_pairs}, {"sort", sort},
    {"dictsort", dict_sort}, {"unique", unique},    {"min", extreme<false>},
    {"max", extreme<true>},  {"sum", sum},          {"default", fallback},
    {"d", fallback},
};

}  // namespace

Native find_sequence_filter(std::string_view name) { return find_in(kSequenceFilters, name); }

}  // namespace talpa::chat
