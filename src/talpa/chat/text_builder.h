#pragma once

#include <string>
#include <string_view>

#include "talpa/chat/position.h"
#include "talpa/chat/value.h"

namespace talpa::chat {

/// Text under construction; throws kFormat as soon as it is longer than a value may be.
class TextBuilder {
 public:
  void add(std::string_view text) {
    if (text.size() > kMaxValueSize - text_.size())
      refuse("a text is longer than {} bytes", kMaxValueSize);
    text_ += text;
  }
  void add(std::size_t count, std::string_view text) {
    for (std::size_t i = 0; i < count; ++i) add(text);
  }
  std::string_view view() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// What {{ value }} prints: Python's str(), nothing for what is undefined.
std::string text_of(const Value& value);
/// Python's repr().
void add_repr(TextBuilder& out, const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  /// The text of one level of indentation; without it everything is on one line.
  bool pretty = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// json.dumps() of Python. Throws kFormat for what JSON has no form for.
std::string json_of(const Value& value, const JsonStyle& style);

}  // namespace talpa::chat
