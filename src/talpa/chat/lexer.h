#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "talpa/chat/position.h"

namespace talpa::chat {

enum class TokenKind {
  kData,           ///< text between tags, white space already removed as the tags ask
  kBlockBegin,     ///< {%
  kBlockEnd,       ///< %}
  kVariableBegin,  ///< {{
  kVariableEnd,    ///< }}
  kName,
  kString,  ///< text is the value, escapes resolved
  kInteger,
  kFloat,
  kOperator,  ///< text is the operator
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  Position at;
};

/// Cuts a template into tokens as jinja2 does with trim_blocks and lstrip_blocks on and
/// keep_trailing_newline off; comments and {% raw %} are resolved. The last token is kEnd.
/// Throws kFormat for text that is not UTF-8, and for tags, strings or characters that are none.
std::vector<Token> tokenize(std::string_view source);

/// The value of a string literal without its quotes; escapes as in Python.
std::string unescape(std::string_view literal, Position at);

}  // namespace talpa::chat
