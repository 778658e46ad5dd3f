#pragma once

#include <cstddef>
#include <string_view>

namespace talpa::chat {

/// As string_view's find and rfind, but in linear time whatever the texts are.
std::size_t find_text(std::string_view text, std::string_view part, std::size_t from = 0);
std::size_t find_last_text(std::string_view text, std::string_view part);

}  // namespace talpa::chat
