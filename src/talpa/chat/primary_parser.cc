// Primary expressions: literals, names, brackets, and what stands directly behind them.
#include <charconv>

#include "talpa/chat/expression_parser.h"

namespace talpa::chat {

namespace {

template <class Number>
Value parsed_number(const Token& token) {
  Number number{};
  const char* end = token.text.data() + token.text.size();
  const auto result = std::from_chars(token.text.data(), end, number);
  if (result.ec != std::errc{} || result.ptr != end)
    fail_at(token.at, "the number {} is out of range", token.text);
  return number;
}

}  // namespace

ExpressionPtr ExpressionParser::primary() {
  if (tokens_.is(TokenKind::kName)) return name();
  if (tokens_.is(TokenKind::kString)) return string();
  if (tokens_.is(TokenKind::kInteger) || tokens_.is(TokenKind::kFloat)) return number();
  if (tokens_.is_operator("(")) return parenthesized();
  if (tokens_.is_operator("[")) return list();
  if (tokens_.is_operator("{")) return dict();
  tokens_.fail_expected("an expression");
}

ExpressionPtr ExpressionParser::name() {
  const Token& token = tokens_.next();
  const std::string& text = token.text;
  if (text == "true" || text == "True") return make_expression(token.at, Literal{Value(true)});
  if (text == "false" || text == "False") return make_expression(token.at, Literal{Value(false)});
  if (text == "none" || text == "None") return make_expression(token.at, Literal{Value(nullptr)});
  return make_expression(token.at, Name{text});
}

/// Strings beside each other are one.
ExpressionPtr ExpressionParser::string() {
  const Position at = tokens_.at();
  std::string text;
  while (tokens_.is(TokenKind::kString)) text += tokens_.next().text;
  return make_expression(at, Literal{Value(std::move(text))});
}

ExpressionPtr ExpressionParser::number() {
  const Token& token = tokens_.next();
  const bool is_integer = token.kind == TokenKind::kInteger;
  return make_expression(token.at, Literal{is_integer ? parsed_number<std::int64_t>(token)
                                                      : parsed_number<double>(token)});
}

ExpressionPtr ExpressionParser::list() {
  const Position at = tokens_.at();
  tokens_.expect_operator("[");
  Sequence sequence;
  while (!tokens_.skip_operator("]")) {
    sequence.items.push_back(expression());
    if (!tokens_.is_operator("]")) tokens_.expect_operator(",");
  }
  return make_expression(at, std::move(sequence));
}

ExpressionPtr ExpressionParser::dict() {
  const Position at = tokens_.at();
  tokens_.expect_operator("{");
  Mapping mapping;
  while (!tokens_.skip_operator("}")) {
    mapping.keys.push_back(expression());
    tokens_.expect_operator(":");
    mapping.values.push_back(expression());
    if (!tokens_.is_operator("}")) tokens_.expect_operator(",");
  }
  return make_expression(at, std::move(mapping));
}

ExpressionPtr ExpressionParser::parenthesized() {
  const Position at = tokens_.at();
  tokens_.expect_operator("(");
  if (tokens_.skip_operator(")")) return make_expression(at, Sequence{{}, true});
  ExpressionPtr inside = tuple();
  tokens_.expect_operator(")");
  return inside;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  for (;;) {
    if (tokens_.is_operator(".")) {
      object = attribute(std::move(object));
    } else if (tokens_.is_operator("[")) {
      object = subscript(std::move(object));
    } else if (tokens_.is_operator("(")) {
      const Position at = tokens_.at();
      object = make_expression(at, Invocation{std::move(object), arguments()});
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr object) {
  tokens_.expect_operator(".");
  const Position at = tokens_.at();
  if (tokens_.is(TokenKind::kInteger))
    return make_expression(at, Item{std::move(object), number()});
  return make_expression(at,
                         Attribute{std::move(object), tokens_.name("the name of an attribute")});
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  const Position at = tokens_.at();
  tokens_.expect_operator("[");
  const auto part = [&]() -> ExpressionPtr {
    return tokens_.is_operator(":") || tokens_.is_operator("]") ? nullptr : expression();
  };
  ExpressionPtr start = tokens_.is_operator(":") ? nullptr : expression();
  if (start && tokens_.skip_operator("]"))
    return make_expression(at, Item{std::move(object), std::move(start)});
  tokens_.expect_operator(":");
  ExpressionPtr stop = part();
  ExpressionPtr step = tokens_.skip_operator(":") ? part() : nullptr;
  tokens_.expect_operator("]");
  return make_expression(
      at, Slice{std::move(object), std::move(start), std::move(stop), std::move(step)});
}

}  // namespace talpa::chat
