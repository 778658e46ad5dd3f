#include <cmath>

#include "talpa/chat/characters.h"
#include "talpa/chat/text_builder.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void add_repr_character(TextBuilder& out, std::string_view text, char32_t code, char quote) {
  const bool printable =
      !text::is_other(code) && (code == ' ' || !text::is_white_space(code)) && code != 0x7f;
  if (code == '\n') {
    out.add("\\n");
  } else if (code == '\r') {
    out.add("\\r");
  } else if (code == '\t') {
    out.add("\\t");
  } else if (code == '\\' || code == static_cast<char32_t>(quote)) {
    out.add("\\");
    out.add(text);
  } else if (printable) {
    out.add(text);
  } else {
    const auto number = static_cast<unsigned>(code);
    out.add(number < 0x100     ? fmt::format("\\x{:02x}", number)
            : number < 0x10000 ? fmt::format("\\u{:04x}", number)
                               : fmt::format("\\U{:08x}", number));
  }
}

void add_string_repr(TextBuilder& out, const std::string& text) {
  const bool doubled = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out.add(std::string_view(&quote, 1));
  for (std::size_t i = 0; i < text.size();) {
    const auto character = text::character_at(text, i);
    add_repr_character(out, std::string_view(text).substr(i, character.size), character.code,
                       quote);
    i += character.size;
  }
  out.add(std::string_view(&quote, 1));
}

void add_list_repr(TextBuilder& out, const List& list) {
  out.add(list.tuple ? "(" : "[");
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out.add(", ");
    add_repr(out, list.items[i]);
  }
  if (list.tuple && list.items.size() == 1) out.add(",");
  out.add(list.tuple ? ")" : "]");
}

void add_dict_repr(TextBuilder& out, const Dict& dict) {
  out.add("{");
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out.add(", ");
    first = false;
    add_repr(out, key);
    out.add(": ");
    add_repr(out, value);
  }
  out.add("}");
}

}  // namespace

void add_repr(TextBuilder& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.add("Undefined");
    case Kind::kNone:
      return out.add("None");
    case Kind::kBool:
      return out.add(value.boolean() ? "True" : "False");
    case Kind::kInteger:
      return out.add(fmt::format("{}", value.integer()));
    case Kind::kFloat:
      return out.add(float_text(value.number()));
    case Kind::kString:
      return add_string_repr(out, value.string());
    case Kind::kList:
      return add_list_repr(out, value.list());
    case Kind::kDict:
      return add_dict_repr(out, value.dict());
    default:
      return out.add(fmt::format("<{}>", value.type_name()));
  }
}

std::string text_of(const Value& value) {
  if (value.is(Kind::kString)) return value.string();
  if (value.is(Kind::kUndefined)) return "";
  TextBuilder out;
  add_repr(out, value);
  return out.take();
}

}  // namespace talpa::chat
