// json.dumps of Python, whose separators, escapes and numbers differ from those of C++ libraries.
#include <algorithm>
#include <cmath>

#include "talpa/chat/text_builder.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return out_.add("null");
      case Kind::kBool:
        return out_.add(value.boolean() ? "true" : "false");
      case Kind::kInteger:
      case Kind::kFloat:
        return out_.add(number(value));
      case Kind::kString:
        return string(value.string());
      case Kind::kList:
        return list(value.list());
      case Kind::kDict:
        return dict(value.dict());
      default:
        refuse("Object of type {} is not JSON serializable", value.type_name());
    }
  }

  std::string take() { return out_.take(); }

 private:
  static std::string number(const Value& value) {
    if (!value.is(Kind::kFloat) || std::isfinite(value.number())) return text_of(value);
    if (std::isnan(value.number())) return "NaN";
    return value.number() < 0 ? "-Infinity" : "Infinity";
  }

  void escaped(char32_t code) {
    const auto number = static_cast<unsigned>(code);
    if (number < 0x10000) return out_.add(fmt::format("\\u{:04x}", number));
    out_.add(fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0 + (number >> 10), 0xdc00 + (number & 0x3ff)));
  }

  void character(std::string_view text, char32_t code) {
    static constexpr std::string_view kShort = "\"\"\\\\\nn\rr\tt\bb\ff";
    for (std::size_t i = 0; i < kShort.size(); i += 2)
      if (code == static_cast<char32_t>(kShort[i])) {
        out_.add("\\");
        return out_.add(kShort.substr(i + 1, 1));
      }
    if (code < 0x20 || (style_.ensure_ascii && code > 0x7e)) return escaped(code);
    out_.add(text);
  }

  void string(const std::string& text) {
    out_.add("\"");
    for (std::size_t i = 0; i < text.size();) {
      const auto next = text::character_at(text, i);
      character(std::string_view(text).substr(i, next.size), next.code);
      i += next.size;
    }
    out_.add("\"");
  }

  void new_line() {
    if (!style_.pretty) return;
    out_.add("\n");
    out_.add(static_cast<std::size_t>(level_), style_.indent);
  }

  void list(const List& list) {
    if (list.items.empty()) return out_.add("[]");
    out_.add("[");
    ++level_;
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      write(list.items[i]);
    }
    --level_;
    new_line();
    out_.add("]");
  }

  void key(const Value& key) {
    if (key.is(Kind::kString)) return string(key.string());
    out_.add("\"");
    write(key);
    out_.add("\"");
  }

  void dict(const Dict& dict) {
    if (dict.entries().empty()) return out_.add("{}");
    out_.add("{");
    ++level_;
    bool first = true;
    for (const Dict::Entry* entry : ordered(dict)) {
      if (!first) out_.add(style_.item_separator);
      first = false;
      new_line();
      key(entry->first);
      out_.add(style_.key_separator);
      write(entry->second);
    }
    --level_;
    new_line();
    out_.add("}");
  }

  std::vector<const Dict::Entry*> ordered(const Dict& dict) const {
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) {
      if (style_.sort_keys && !entry.first.is(Kind::kString))
        refuse("keys that are not all strings cannot be sorted");
      entries.push_back(&entry);
    }
    if (style_.sort_keys)
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return a->first.string() < b->first.string(); });
    return entries;
  }

  const JsonStyle& style_;
  TextBuilder out_;
  int level_ = 0;
};

}  // namespace

std::string json_of(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value);
  return writer.take();
}

}  // namespace talpa::chat
