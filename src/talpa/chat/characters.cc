#include "talpa/chat/characters.h"

#include <utf8proc.h>

#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

bool is_cased(char32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

void append_upper(std::string& out, char32_t code) {
  if (code == 0xdf) {  // the one common letter whose capital is two letters
    out += "SS";
  } else {
    text::append_character(out, utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
  }
}

void append_lower(std::string& out, char32_t code) {
  text::append_character(out, utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

template <class Body>
std::string mapped_characters(std::string_view text, Body body) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto character = text::character_at(text, i);
    body(out, character.code);
    i += character.size;
  }
  return out;
}

}  // namespace

bool is_python_space(char32_t code) {
  return text::is_white_space(code) || (code >= 0x1c && code <= 0x1f);
}

std::string_view stripped_left(std::string_view text) {
  while (!text.empty()) {
    const auto character = text::character_at(text, 0);
    if (!is_python_space(character.code)) break;
    text.remove_prefix(character.size);
  }
  return text;
}

std::string_view stripped_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    if (!is_python_space(text::character_at(text, last).code)) break;
    text = text.substr(0, last);
  }
  return text;
}

std::int64_t character_count(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

std::vector<std::size_t> character_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); i += text::character_size(text, i)) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

std::string upper(std::string_view text) { return mapped_characters(text, append_upper); }
std::string lower(std::string_view text) { return mapped_characters(text, append_lower); }

std::string title(std::string_view text) {
  bool inside = false;
  return mapped_characters(text, [&](std::string& out, char32_t code) {
    inside ? append_lower(out, code) : append_upper(out, code);
    inside = is_cased(code);
  });
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return mapped_characters(text, [&](std::string& out, char32_t code) {
    first ? append_upper(out, code) : append_lower(out, code);
    first = false;
  });
}

}  // namespace talpa::chat
