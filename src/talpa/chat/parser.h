#pragma once

#include <string_view>

#include "talpa/chat/ast.h"

namespace talpa::chat {

/// The statements of a template. Throws kFormat with line and column where it does not follow the
/// grammar or nests deeper than 100 levels, and kUnsupported for statements that chat templates
/// have no use for (include, import, extends, block, call, autoescape).
Statements parse_template(std::string_view source);

}  // namespace talpa::chat
