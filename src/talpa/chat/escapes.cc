// String literals: the escapes of Python's unicode-escape codec but \N{...}.
#include "talpa/chat/lexer.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

constexpr std::string_view kEscapes = "n\nt\tr\rb\bf\fv\va\a\\\\''\"\"";

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

/// Reads up to `most` digits of `base` and moves behind them; at least `least` must be there.
char32_t code_point(std::string_view literal, std::size_t& i, std::size_t least, std::size_t most,
                    int base, Position at) {
  char32_t code = 0;
  std::size_t count = 0;
  while (count < most && i < literal.size() && digit_value(literal[i]) < base) {
    code = code * base + digit_value(literal[i++]);
    ++count;
  }
  if (count < least) fail_at(at, "an escape in a string needs {} digits", least);
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
    fail_at(at, "an escape in a string is no character");
  return code;
}

/// The escape whose letter is at `i`; moves behind it.
void append_escape(std::string& out, std::string_view literal, std::size_t& i, Position at) {
  const char c = literal[i];
  if (c == 'x' || c == 'u' || c == 'U') {
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    text::append_character(out, code_point(literal, ++i, digits, digits, 16, at));
  } else if (digit_value(c) < 8) {
    text::append_character(out, code_point(literal, i, 1, 3, 8, at));
  } else if (c == 'N') {
    fail_at(at, "\\N escapes are not supported");
  } else if (c == '\n') {
    ++i;
  } else {
    ++i;
    for (std::size_t k = 0; k < kEscapes.size(); k += 2)
      if (kEscapes[k] == c) {
        out += kEscapes[k + 1];
        return;
      }
    out += '\\';
    out += c;
  }
}

}  // namespace

std::string unescape(std::string_view literal, Position at) {
  std::string out;
  for (std::size_t i = 0; i < literal.size();) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i++];
    } else {
      append_escape(out, literal, ++i, at);
    }
  }
  return out;
}

}  // namespace talpa::chat
