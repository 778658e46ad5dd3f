#include "talpa/chat/expression_parser.h"

namespace talpa::chat {

ExpressionPtr ExpressionParser::expression(bool with_conditional) {
  const Nesting nesting(level_, tokens_.at());
  return with_conditional ? conditional() : disjunction();
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.is(TokenKind::kVariableEnd) || tokens_.is(TokenKind::kBlockEnd) ||
         tokens_.is_operator(")");
}

ExpressionPtr ExpressionParser::tuple(bool with_conditional) {
  const Position at = tokens_.at();
  ExpressionPtr first = expression(with_conditional);
  if (!tokens_.is_operator(",")) return first;
  Sequence sequence{{}, true};
  sequence.items.push_back(std::move(first));
  while (tokens_.skip_operator(",") && !at_tuple_end())
    sequence.items.push_back(expression(with_conditional));
  return make_expression(at, std::move(sequence));
}

ExpressionPtr ExpressionParser::conditional() {
  const Position at = tokens_.at();
  ExpressionPtr value = disjunction();
  while (tokens_.skip_name("if")) {
    ExpressionPtr condition = disjunction();
    ExpressionPtr otherwise = tokens_.skip_name("else") ? expression() : nullptr;
    value = make_expression(
        at, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  for (Position at = tokens_.at(); tokens_.skip_name("or"); at = tokens_.at())
    left = make_expression(at, Binary{"or", std::move(left), conjunction()});
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  for (Position at = tokens_.at(); tokens_.skip_name("and"); at = tokens_.at())
    left = make_expression(at, Binary{"and", std::move(left), negation()});
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  const Position at = tokens_.at();
  if (!tokens_.skip_name("not")) return comparison();
  const Nesting nesting(level_, at);
  return make_expression(at, Unary{"not", negation()});
}

/// The operator at the current place, left behind; empty if there is none.
std::string ExpressionParser::comparison_operator() {
  for (const std::string_view text : {"==", "!=", "<=", ">=", "<", ">"})
    if (tokens_.skip_operator(text)) return std::string(text);
  if (tokens_.skip_name("in")) return "in";
  if (tokens_.is_name("not") && tokens_.is_next_name("in")) {
    tokens_.next();
    tokens_.next();
    return "not in";
  }
  return "";
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr first = sum();
  const Position at = tokens_.at();
  Comparison comparison;
  for (std::string operation; !(operation = comparison_operator()).empty();) {
    comparison.operations.push_back(std::move(operation));
    comparison.rest.push_back(sum());
  }
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return make_expression(at, std::move(comparison));
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token& token = tokens_.next();
    left = make_expression(token.at, Binary{token.text, std::move(left), concatenation()});
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  for (Position at = tokens_.at(); tokens_.skip_operator("~"); at = tokens_.at())
    left = make_expression(at, Binary{"~", std::move(left), product()});
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (tokens_.is_operator("*") || tokens_.is_operator("/") || tokens_.is_operator("//") ||
         tokens_.is_operator("%")) {
    const Token& token = tokens_.next();
    left = make_expression(token.at, Binary{token.text, std::move(left), power()});
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary();
  for (Position at = tokens_.at(); tokens_.skip_operator("**"); at = tokens_.at())
    left = make_expression(at, Binary{"**", std::move(left), unary()});
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filter) {
  const Position at = tokens_.at();
  ExpressionPtr node;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Nesting nesting(level_, at);
    const std::string operation = tokens_.next().text;
    node = make_expression(at, Unary{operation, unary(false)});
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters_and_tests(std::move(node)) : std::move(node);
}

CallArguments ExpressionParser::arguments() {
  CallArguments arguments;
  tokens_.expect_operator("(");
  while (!tokens_.skip_operator(")")) {
    if (tokens_.is_operator("*") || tokens_.is_operator("**"))
      fail_at(tokens_.at(), "unpacked arguments are not supported");
    ExpressionPtr value = expression();
    const Name* name = std::get_if<Name>(&value->node);
    if (name && tokens_.skip_operator("=")) {
      arguments.names.push_back(name->name);
      arguments.named.push_back(expression());
    } else if (!arguments.named.empty()) {
      fail_at(value->at, "a positional argument behind a named one");
    } else {
      arguments.positional.push_back(std::move(value));
    }
    if (!tokens_.is_operator(")")) tokens_.expect_operator(",");
  }
  return arguments;
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr object) {
  const Position at = tokens_.at();
  std::string name = tokens_.name("the name of a filter");
  CallArguments given;
  if (tokens_.is_operator("(")) given = arguments();
  return make_expression(at, Filter{std::move(object), std::move(name), std::move(given)});
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr object) {
  while (tokens_.skip_operator("|")) object = filter(std::move(object));
  return object;
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr object) {
  for (;;) {
    if (tokens_.is_operator("|")) {
      object = filters(std::move(object));
    } else if (tokens_.is_name("is")) {
      object = test(std::move(object));
    } else if (tokens_.is_operator("(")) {
      const Position at = tokens_.at();
      object = make_expression(at, Invocation{std::move(object), arguments()});
    } else {
      return object;
    }
  }
}

/// A test takes arguments in parentheses or one without.
CallArguments ExpressionParser::test_arguments() {
  if (tokens_.is_operator("(")) return arguments();
  CallArguments given;
  const bool is_value = tokens_.is(TokenKind::kName) || tokens_.is(TokenKind::kString) ||
                        tokens_.is(TokenKind::kInteger) || tokens_.is(TokenKind::kFloat) ||
                        tokens_.is_operator("[") || tokens_.is_operator("{");
  if (!is_value || tokens_.is_any_name({"else", "or", "and"})) return given;
  if (tokens_.is_name("is")) fail_at(tokens_.at(), "tests with 'is' cannot be chained");
  given.positional.push_back(postfix(primary()));
  return given;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr object) {
  tokens_.expect_name("is");
  const bool negated = tokens_.skip_name("not");
  const Position at = tokens_.at();
  std::string name = tokens_.name("the name of a test");
  CallArguments given = test_arguments();
  ExpressionPtr test =
      make_expression(at, Test{std::move(object), std::move(name), std::move(given)});
  return negated ? make_expression(at, Unary{"not", std::move(test)}) : std::move(test);
}

}  // namespace talpa::chat
