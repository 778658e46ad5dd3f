#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace talpa::chat {

/// str.isspace of Python: White_Space and U+001C to U+001F.
bool is_python_space(char32_t code);
/// Without white space at one end.
std::string_view stripped_left(std::string_view text);
std::string_view stripped_right(std::string_view text);

/// Number of characters of valid UTF-8.
std::int64_t character_count(std::string_view text);
/// Where each character of valid UTF-8 begins, and the end.
std::vector<std::size_t> character_starts(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// Every word's first letter in upper case, the others in lower.
std::string title(std::string_view text);
/// The first character in upper case, the others in lower.
std::string capitalize(std::string_view text);

}  // namespace talpa::chat
