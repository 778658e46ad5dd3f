#pragma once

#include <string_view>

namespace talpa::detail {

/// True for well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text);

}  // namespace talpa::detail
