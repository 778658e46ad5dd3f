#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "talpa/chat/lexer.h"

namespace talpa::chat {

/// The tokens of a template and the place of the parser in them.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[position_]; }
  Position at() const { return current().at; }
  /// The current token, which is left behind unless it is the last.
  const Token& next() {
    const Token& token = tokens_[position_];
    if (token.kind != TokenKind::kEnd) ++position_;
    return token;
  }

  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view text) const {
    return is(TokenKind::kOperator) && current().text == text;
  }
  bool is_name(std::string_view text) const {
    return is(TokenKind::kName) && current().text == text;
  }
  bool is_next_name(std::string_view text) const {
    return position_ + 1 < tokens_.size() && tokens_[position_ + 1].kind == TokenKind::kName &&
           tokens_[position_ + 1].text == text;
  }
  bool is_any_name(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names)
      if (is_name(name)) return true;
    return false;
  }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail_expected(text);
  }
  void expect_name(std::string_view text) {
    if (!skip_name(text)) fail_expected(text);
  }
  void expect(TokenKind kind, std::string_view what) {
    if (!is(kind)) fail_expected(what);
    next();
  }
  std::string name(std::string_view what) {
    if (!is(TokenKind::kName)) fail_expected(what);
    return next().text;
  }

  [[noreturn]] void fail_expected(std::string_view what) const {
    fail_at(at(), "expected {}, found {}", what, found());
  }

 private:
  std::string found() const {
    switch (current().kind) {
      case TokenKind::kData:
        return "text";
      case TokenKind::kBlockBegin:
        return "{%";
      case TokenKind::kBlockEnd:
        return "%}";
      case TokenKind::kVariableBegin:
        return "{{";
      case TokenKind::kVariableEnd:
        return "}}";
      case TokenKind::kEnd:
        return "the end of the template";
      default:
        return "'" + current().text + "'";
    }
  }

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
};

}  // namespace talpa::chat
