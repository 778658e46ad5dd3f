// Methods of Python's str.
#include <algorithm>

#include "talpa/chat/characters.h"
#include "talpa/chat/find_text.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/split_text.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

template <bool kLeft, bool kRight>
Value strip(Call& call) {
  const Parameters given(call, {"chars"});
  const bool white_space = !given.has(0) || given[0].is(Kind::kNone);
  const std::string characters = given.text(0, "");
  std::string_view text = call.self.string();
  if (kLeft) text = white_space ? stripped_left(text) : stripped_left_of(text, characters);
  if (kRight) text = white_space ? stripped_right(text) : stripped_right_of(text, characters);
  return text;
}

template <bool kFromRight>
Value split(Call& call) {
  const Parameters given(call, {"sep", "maxsplit"});
  const std::int64_t most = given.integer(1, -1);
  if (!given.has(0) || given[0].is(Kind::kNone))
    return kFromRight ? split_words_right(call.self.string(), most)
                      : split_words(call.self.string(), most);
  const std::string separator = given.text(0, "");
  if (separator.empty()) refuse("empty separator");
  return kFromRight ? split_right_at(call.self.string(), separator, most)
                    : split_at(call.self.string(), separator, most);
}

/// startswith and endswith take one text or a tuple of them.
template <class Matches>
bool any_affix(Call& call, Matches matches) {
  const Parameters given(call, {"affix"}, 1);
  if (!given[0].is(Kind::kList)) return matches(given.text(0, ""));
  const auto& items = given[0].list().items;
  return std::any_of(items.begin(), items.end(), [&](const Value& item) {
    if (!item.is(Kind::kString)) refuse("{}() needs texts", call.name);
    return matches(item.string());
  });
}

Value starts_with(Call& call) {
  return any_affix(call,
                   [&](const std::string& affix) { return call.self.string().starts_with(affix); });
}

Value ends_with(Call& call) {
  return any_affix(call,
                   [&](const std::string& affix) { return call.self.string().ends_with(affix); });
}

Value remove_prefix(Call& call) {
  const std::string prefix = Parameters(call, {"prefix"}, 1).text(0, "");
  const std::string& text = call.self.string();
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

Value remove_suffix(Call& call) {
  const std::string suffix = Parameters(call, {"suffix"}, 1).text(0, "");
  const std::string& text = call.self.string();
  return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

Value replace(Call& call) {
  const Parameters given(call, {"old", "new", "count"}, 2);
  return replaced(call.self.string(), given.text(0, ""), given.text(1, ""), given.integer(2, -1));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Call& call) {
  const Parameters given(call, {});
  return kMap(call.self.string());
}

template <bool kLast>
Value find(Call& call) {
  const std::string part = Parameters(call, {"sub"}, 1).text(0, "");
  const std::string& text = call.self.string();
  const std::size_t at = kLast ? find_last_text(text, part) : find_text(text, part);
  if (at == std::string::npos) return std::int64_t{-1};
  return character_count(std::string_view(text).substr(0, at));
}

Value count(Call& call) {
  const std::string part = Parameters(call, {"sub"}, 1).text(0, "");
  if (part.empty()) return character_count(call.self.string()) + 1;
  return length_of(split_at(call.self.string(), part, -1)) - 1;
}

Value join(Call& call) {
  const Value items = items_of(Parameters(call, {"iterable"}, 1)[0]);
  TextBuilder out;
  bool first = true;
  for (const Value& item : items.list().items) {
    if (!item.is(Kind::kString)) refuse("join() needs texts, got {}", item.type_name());
    if (!first) out.add(call.self.string());
    first = false;
    out.add(item.string());
  }
  return out.take();
}

Value split_lines(Call& call) {
  return lines_of(call.self.string(), Parameters(call, {"keepends"}).boolean(0, false));
}

template <bool kLeft, bool kRight>
Value pad(Call& call) {
  const Parameters given(call, {"width", "fillchar"}, 1);
  const std::int64_t missing = given.integer(0, 0) - character_count(call.self.string());
  const std::string fill = given.text(1, " ");
  if (character_count(fill) != 1) refuse("{}() fills with one character", call.name);
  const std::int64_t odd = missing & given.integer(0, 0) & 1;
  const std::int64_t left = !kLeft ? 0 : kRight ? missing / 2 + odd : missing;
  TextBuilder out;
  if (missing > 0) out.add(static_cast<std::size_t>(left), fill);
  out.add(call.self.string());
  if (missing > 0 && kRight) out.add(static_cast<std::size_t>(missing - left), fill);
  return out.take();
}

template <bool kLast>
Value partition(Call& call) {
  const std::string separator = Parameters(call, {"sep"}, 1).text(0, "");
  if (separator.empty()) refuse("empty separator");
  const std::string& text = call.self.string();
  const std::size_t at = kLast ? find_last_text(text, separator) : find_text(text, separator);
  if (at == std::string::npos)
    return Value::list(kLast ? std::vector<Value>{"", "", text} : std::vector<Value>{text, "", ""},
                       true);
  return Value::list({text.substr(0, at), separator, text.substr(at + separator.size())}, true);
}

constexpr NamedNative kStringMethods[] = {
    {"strip", strip<true, true>},
    {"lstrip", strip<true, false>},
    {"rstrip", strip<false, true>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"splitlines", split_lines},
    {"startswith", starts_with},
    {"endswith", ends_with},
    {"removeprefix", remove_prefix},
    {"removesuffix", remove_suffix},
    {"replace", replace},
    {"upper", mapped<upper>},
    {"lower", mapped<lower>},
    {"title", mapped<title>},
    {"capitalize", mapped<capitalize>},
    {"find", find<false>},
    {"rfind", find<true>},
    {"count", count},
    {"join", join},
    {"ljust", pad<false, true>},
    {"rjust", pad<true, false>},
    {"center", pad<true, true>},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
};

}  // namespace

Native find_string_method(std::string_view name) {
  if (const Native predicate = find_string_predicate(name)) return predicate;
  return find_in(kStringMethods, name);
}

}  // namespace talpa::chat
