#pragma once

#include <string>
#include <utility>

#include "talpa/base/error.h"

namespace talpa::chat {

/// A place in a template, both from 1; the column counts bytes.
struct Position {
  int line = 1;
  int column = 1;
};

/// Throws kFormat naming the place.
template <class... Args>
[[noreturn]] void fail_at(Position at, fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorCode::kFormat, "chat template, line {}, column {}: {}", at.line, at.column,
       fmt::format(format, std::forward<Args>(args)...));
}

/// Throws kFormat without a place; the renderer adds the one it is at.
template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorCode::kFormat, format, std::forward<Args>(args)...);
}

}  // namespace talpa::chat
