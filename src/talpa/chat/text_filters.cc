// Filters that make text or numbers.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "talpa/chat/characters.h"
#include "talpa/chat/format_text.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/split_text.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

template <std::string (*kMap)(std::string_view)>
Value mapped_text(Call& call) {
  const Parameters given(call, {});
  return kMap(text_of(call.self));
}

Value to_text(Call& call) {
  const Parameters given(call, {});
  return text_of(call.self);
}

Value trim(Call& call) {
  const Parameters given(call, {"chars"});
  const std::string text = text_of(call.self);
  if (!given.has(0) || given[0].is(Kind::kNone)) return stripped_left(stripped_right(text));
  const std::string characters = given.text(0, "");
  return stripped_left_of(stripped_right_of(text, characters), characters);
}

Value replace_text(Call& call) {
  const Parameters given(call, {"old", "new", "count"}, 2);
  return replaced(text_of(call.self), text_of(given[0]), text_of(given[1]), given.integer(2, -1));
}

Value escape(Call& call) {
  const Parameters given(call, {});
  TextBuilder out;
  for (const char& c : text_of(call.self)) {
    const std::string_view plain(&c, 1);
    out.add(c == '&'    ? "&amp;"
            : c == '<'  ? "&lt;"
            : c == '>'  ? "&gt;"
            : c == '"'  ? "&#34;"
            : c == '\'' ? "&#39;"
                        : plain);
  }
  return out.take();
}

/// A width in characters or the text of one level.
std::string indentation(const Value& width) {
  if (width.is(Kind::kString)) return width.string();
  if (!width.is_integral()) refuse("an indentation is a number or a text");
  TextBuilder out;
  if (width.integer() > 0) out.add(static_cast<std::size_t>(width.integer()), " ");
  return out.take();
}

Value indent(Call& call) {
  const Parameters given(call, {"width", "first", "blank"});
  const std::string step = indentation(given.has(0) ? given[0] : Value(std::int64_t{4}));
  const bool blank = given.boolean(2, false);
  std::string text = text_of(call.self);
  text += '\n';
  const Value lines = lines_of(text, false);
  TextBuilder out;
  if (given.boolean(1, false)) out.add(step);
  bool first = true;
  for (const Value& line : lines.list().items) {
    if (!first) out.add("\n");
    if (!first && (blank || !line.string().empty())) out.add(step);
    out.add(line.string());
    first = false;
  }
  return out.take();
}

Value to_json(Call& call) {
  const Parameters given(call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given.boolean(0, false);
  style.sort_keys = given.boolean(3, false);
  if (given.has(1) && !given[1].is(Kind::kNone)) {
    style.pretty = true;
    style.indent = indentation(given[1]);
    style.item_separator.resize(1);
  }
  if (given.has(2) && !given[2].is(Kind::kNone)) {
    const Value& pair = given[2];
    if (!pair.is(Kind::kList) || pair.list().items.size() != 2 ||
        !pair.list().items[0].is(Kind::kString) || !pair.list().items[1].is(Kind::kString))
      refuse("tojson() needs two texts as 'separators'");
    style.item_separator = pair.list().items[0].string();
    style.key_separator = pair.list().items[1].string();
  }
  return json_of(call.self, style);
}

Value percent_format(Call& call) {
  if (!call.named.empty()) refuse("format() by names is not supported");
  return format_text(text_of(call.self), Value::list(call.positional, true));
}

/// The number that a whole text spells, white space around it left out.
template <class Number>
bool parsed(const Value& value, Number& number) {
  if (!value.is(Kind::kString)) return false;
  std::string text(stripped_left(stripped_right(value.string())));
  std::erase(text, '_');
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto result = std::from_chars(begin, text.data() + text.size(), number);
  return result.ec == std::errc{} && result.ptr == text.data() + text.size();
}

bool fits_integer(double value) { return value > -9.2e18 && value < 9.2e18; }

Value to_integer(Call& call) {
  const Parameters given(call, {"default", "base"});
  if (given.integer(1, 10) != 10) refuse("int() is supported with base 10 only");
  std::int64_t integer = 0;
  double number = 0;
  if (call.self.is_integral()) return call.self.integer();
  if (parsed(call.self, integer)) return integer;
  if (call.self.is(Kind::kFloat)) number = call.self.number();
  if ((call.self.is(Kind::kFloat) || parsed(call.self, number)) && fits_integer(number))
    return static_cast<std::int64_t>(number);
  return given.has(0) ? given[0] : Value(std::int64_t{0});
}

Value to_float(Call& call) {
  const Parameters given(call, {"default"});
  double number = 0;
  if (call.self.is_number()) return call.self.number();
  if (parsed(call.self, number)) return number;
  return given.has(0) ? given[0] : Value(0.0);
}

Value absolute(Call& call) {
  const Parameters given(call, {});
  if (!call.self.is_number()) refuse("bad operand type for abs(): '{}'", call.self.type_name());
  return call.self.number() < 0 ? negated(call.self) : call.self;
}

Value round(Call& call) {
  const Parameters given(call, {"precision", "method"});
  const std::int64_t precision = given.integer(0, 0);
  const std::string method = given.text(1, "common");
  if (!call.self.is_number()) refuse("'{}' cannot be rounded", call.self.type_name());
  if (precision < 0 || precision > 300) refuse("round() takes a precision of 0 to 300");
  if (method == "common" && call.self.is_integral()) return call.self.integer();
  const double value = call.self.number();
  if (method == "common")
    return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);
  if (method != "ceil" && method != "floor") refuse("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return (method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) / scale;
}

constexpr NamedNative kTextFilters[] = {
    {"upper", mapped_text<upper>},
    {"lower", mapped_text<lower>},
    {"title", mapped_text<title>},
    {"capitalize", mapped_text<capitalize>},
    {"string", to_text},
    {"safe", to_text},
    {"trim", trim},
    {"replace", replace_text},
    {"escape", escape},
    {"e", escape},
    {"indent", indent},
    {"tojson", to_json},
    {"format", percent_format},
    {"int", to_integer},
    {"float", to_float},
    {"abs", absolute},
    {"round", round},
};

}  // namespace

Native find_text_filter(std::string_view name) { return find_in(kTextFilters, name); }

}  // namespace talpa::chat
