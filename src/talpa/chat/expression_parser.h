#pragma once

#include <string>
#include <vector>

#include "talpa/chat/ast.h"
#include "talpa/chat/token_stream.h"

namespace talpa::chat {

/// Levels to which expressions and statements may nest.
inline constexpr int kMaxNesting = 100;

/// Counts a level of nesting while it lives.
class Nesting {
 public:
  Nesting(int& level, Position at) : level_(level) {
    if (level_ >= kMaxNesting) fail_at(at, "nested deeper than {} levels", kMaxNesting);
    ++level_;
  }
  ~Nesting() { --level_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& level_;
};

using Node = decltype(Expression::node);

/// An expression of `node`; throws kFormat if that nests too deep to walk.
ExpressionPtr make_expression(Position at, Node node);

/// Expressions in the grammar of jinja2 3.1, whose method names these are.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  /// One expression; `with_conditional` allows "a if b else c".
  ExpressionPtr expression(bool with_conditional = true);
  /// One expression or a tuple without parentheses.
  ExpressionPtr tuple(bool with_conditional = true);
  /// "| name(...) | ..." behind `object`.
  ExpressionPtr filters(ExpressionPtr object);
  /// One filter, the current token being its name.
  ExpressionPtr filter(ExpressionPtr object);

 private:
  ExpressionPtr conditional();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr filters_and_tests(ExpressionPtr object);

  ExpressionPtr name();
  ExpressionPtr string();
  ExpressionPtr number();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr parenthesized();
  ExpressionPtr attribute(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr test(ExpressionPtr object);
  CallArguments test_arguments();
  CallArguments arguments();
  std::string comparison_operator();
  bool at_tuple_end() const;

  TokenStream& tokens_;
  int level_ = 0;
};

}  // namespace talpa::chat
