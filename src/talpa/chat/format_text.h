#pragma once

#include <string>

#include "talpa/chat/value.h"

namespace talpa::chat {

/// Python's format % values for %s, %r, %d, %i, %f (with a precision) and %%; `values` is a tuple
/// or one value. Throws kFormat for others and for too few or too many values.
std::string format_text(const std::string& format, const Value& values);

}  // namespace talpa::chat
