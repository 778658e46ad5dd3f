#include "talpa/chat/split_text.h"

#include <algorithm>

#include "talpa/chat/characters.h"
#include "talpa/chat/find_text.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/text_builder.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

constexpr std::size_t npos = std::string_view::npos;

/// Length of the text before the first white space.
std::size_t word_length(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto character = text::character_at(text, i);
    if (is_python_space(character.code)) break;
    i += character.size;
  }
  return i;
}

Value turned(Value list) {
  std::vector<Value> items = list.list().items;
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

std::string_view last_character(std::string_view text) {
  std::size_t last = text.size() - 1;
  while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
  return text.substr(last);
}

/// Bytes of the line end at `i`, or 0.
std::size_t line_end(std::string_view text, std::size_t i) {
  const auto character = text::character_at(text, i);
  const char32_t c = character.code;
  if (c == '\r') return text.substr(i + 1, 1) == "\n" ? 2 : 1;
  const bool ends = (c >= 0x0a && c <= 0x0c) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
                    c == 0x2028 || c == 0x2029;
  return ends ? static_cast<std::size_t>(character.size) : 0;
}

}  // namespace

Value split_words(std::string_view text, std::int64_t most) {
  ListBuilder out;
  for (text = stripped_left(text); !text.empty(); text = stripped_left(text)) {
    const std::size_t length = most-- == 0 ? text.size() : word_length(text);
    out.add(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out.take();
}

Value split_words_right(std::string_view text, std::int64_t most) {
  ListBuilder out;
  for (text = stripped_right(text); !text.empty(); text = stripped_right(text)) {
    if (most-- == 0) {
      out.add(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0 && word_length(last_character(text.substr(0, begin))) > 0)
      begin -= last_character(text.substr(0, begin)).size();
    out.add(text.substr(begin));
    text = text.substr(0, begin);
  }
  return turned(out.take());
}

Value split_at(std::string_view text, std::string_view separator, std::int64_t most) {
  ListBuilder out;
  std::size_t begin = 0;
  for (; most != 0; --most) {
    const std::size_t found = find_text(text, separator, begin);
    if (found == npos) break;
    out.add(text.substr(begin, found - begin));
    begin = found + separator.size();
  }
  out.add(text.substr(begin));
  return out.take();
}

Value split_right_at(std::string_view text, std::string_view separator, std::int64_t most) {
  const std::string backwards(text.rbegin(), text.rend());
  const std::string turned_separator(separator.rbegin(), separator.rend());
  ListBuilder out;
  std::size_t begin = 0;
  const auto add = [&](std::size_t end) { out.add(text.substr(text.size() - end, end - begin)); };
  for (; most != 0; --most) {
    const std::size_t found = find_text(backwards, turned_separator, begin);
    if (found == npos) break;
    add(found);
    begin = found + separator.size();
  }
  add(text.size());
  return turned(out.take());
}

Value lines_of(std::string_view text, bool keep_ends) {
  ListBuilder out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = line_end(text, i);
    if (end > 0) {
      out.add(text.substr(begin, i - begin + (keep_ends ? end : 0)));
      begin = i + end;
    }
    i += end > 0 ? end : static_cast<std::size_t>(text::character_size(text, i));
  }
  if (begin < text.size()) out.add(text.substr(begin));
  return out.take();
}

std::string replaced(std::string_view text, std::string_view old, std::string_view fresh,
                     std::int64_t most) {
  TextBuilder out;
  std::size_t begin = 0;
  for (; most != 0 && begin <= text.size(); --most) {
    const std::size_t found = find_text(text, old, begin);
    if (found == npos) break;
    out.add(text.substr(begin, found - begin));
    out.add(fresh);
    begin = found + old.size();
    if (!old.empty()) continue;
    const std::size_t size = begin < text.size() ? text::character_size(text, begin) : 1;
    out.add(text.substr(begin, size));
    begin += size;
  }
  if (begin < text.size()) out.add(text.substr(begin));
  return out.take();
}

std::string_view stripped_left_of(std::string_view text, std::string_view characters) {
  while (!text.empty()) {
    const auto first = text.substr(0, text::character_size(text, 0));
    if (characters.find(first) == npos) break;
    text.remove_prefix(first.size());
  }
  return text;
}

std::string_view stripped_right_of(std::string_view text, std::string_view characters) {
  while (!text.empty() && characters.find(last_character(text)) != npos)
    text.remove_suffix(last_character(text).size());
  return text;
}

}  // namespace talpa::chat
