#include "talpa/text/unicode.h"

#include <algorithm>
#include <iterator>

#include "talpa/text/regex.h"
#include "talpa/text/unicode_tables.h"

namespace talpa::text {

Character character_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  switch (const int size = character_size(text, position)) {
    case 1:
      return {byte(0), 1};
    case 2:
      return {(byte(0) & 0x1f) << 6 | (byte(1) & 0x3f), size};
    case 3:
      return {(byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), size};
    default:
      return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 |
                  (byte(3) & 0x3f),
              size};
  }
}

void append_character(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

std::string to_utf8(char32_t code) {
  std::string out;
  append_character(out, code);
  return out;
}

Utf8Step utf8_step(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, 0, false};
  if (lead < 0xc2 || lead > 0xf4) return {0, 1, false};
  const int size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and codes above U+10FFFF.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (int i = 1; i < size; ++i) {
    if (static_cast<std::size_t>(i) >= text.size()) return {0, i, true};
    const unsigned char next = byte(static_cast<std::size_t>(i));
    const bool fits = i == 1 ? next >= low && next <= high : (next & 0xc0) == 0x80;
    if (!fits) return {0, i, false};
  }
  return {size, 0, false};
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.size == 0) return false;
    text.remove_prefix(static_cast<std::size_t>(step.size));
  }
  return true;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    const auto taken = static_cast<std::size_t>(step.size ? step.size : step.invalid);
    out += step.size ? text.substr(0, taken) : std::string_view("\xef\xbf\xbd");
    text.remove_prefix(taken);
  }
  return out;
}

namespace {
bool contains(std::span<const Range> ranges, char32_t code) {
  const auto behind = std::upper_bound(ranges.begin(), ranges.end(), code,
                                       [](char32_t c, const Range& r) { return c < r.first; });
  return behind != ranges.begin() && code <= std::prev(behind)->last;
}
}  // namespace

bool is_white_space(char32_t code) {
  if (code < 0x80) return code == 0x20 || (code >= 0x9 && code <= 0xd);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_numeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return contains(ranges_of_numeric(), code);
}

bool is_punctuation(char32_t code) { return contains(ranges_of_punctuation(), code); }

bool is_other(char32_t code) { return contains(ranges_of_other(), code); }

bool is_nonspacing_mark(char32_t code) { return contains(ranges_of_nonspacing_mark(), code); }

bool is_mark(char32_t code) { return contains(ranges_of_mark(), code); }

bool is_word(char32_t code) {
  if (code < 0x80)
    return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
           (code >= 'A' && code <= 'Z') || code == '_';
  static const Regex kWord("\\A[\\w\\x{200c}\\x{200d}]");
  bool found = false;
  kWord.find_all(to_utf8(code), [&](std::size_t, std::size_t) { found = true; });
  return found;
}

}  // namespace talpa::text
