#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "talpa/chat/value.h"

namespace talpa::chat {

// str.split and its like; at most `most` cuts if that is not negative.

Value split_words(std::string_view text, std::int64_t most);
Value split_words_right(std::string_view text, std::int64_t most);
Value split_at(std::string_view text, std::string_view separator, std::int64_t most);
Value split_right_at(std::string_view text, std::string_view separator, std::int64_t most);
/// str.splitlines
Value lines_of(std::string_view text, bool keep_ends);

/// str.replace
std::string replaced(std::string_view text, std::string_view old, std::string_view fresh,
                     std::int64_t most);

/// Without the characters that are among `characters` at one end.
std::string_view stripped_left_of(std::string_view text, std::string_view characters);
std::string_view stripped_right_of(std::string_view text, std::string_view characters);

}  // namespace talpa::chat
