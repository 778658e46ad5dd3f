#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace talpa::text {

/// One character of UTF-8 text and the bytes it takes.
struct Character {
  char32_t code = 0;
  int size = 0;
};

/// Length in bytes of the character at `position` of valid UTF-8.
inline int character_size(std::string_view text, std::size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/// The character at `position` of valid UTF-8.
Character character_at(std::string_view text, std::size_t position);
/// Appends a code point as UTF-8.
void append_character(std::string& out, char32_t code);
std::string to_utf8(char32_t code);

/// How the bytes at the front of `text` stand: `size` > 0 is a whole valid character; otherwise
/// `invalid` bytes (at least one) are broken, or, if `truncated`, a longer text might be valid.
struct Utf8Step {
  int size = 0;
  int invalid = 0;
  bool truncated = false;
};
Utf8Step utf8_step(std::string_view text);

/// `text` with every maximal broken sequence replaced by U+FFFD, as Unicode 15 section 3.9
/// (Table 3-8) and Rust's from_utf8_lossy do.
std::string valid_utf8(std::string_view text);
bool is_valid_utf8(std::string_view text);

/// Property White_Space.
bool is_white_space(char32_t code);
/// General categories Nd, Nl, No.
bool is_numeric(char32_t code);
/// ASCII punctuation and symbols, and general categories P*. This and the next three are as in
/// Hugging Face's tokenizers, whose tables are older than Unicode 14.
bool is_punctuation(char32_t code);
/// General categories Cc, Cf, Co.
bool is_other(char32_t code);
/// General category Mn.
bool is_nonspacing_mark(char32_t code);
/// General categories M*.
bool is_mark(char32_t code);
/// A character of a word in regular expressions: Alphabetic, M*, Nd, Pc, Join_Control.
bool is_word(char32_t code);

}  // namespace talpa::text
