#include "talpa/chat/parser.h"

#include "talpa/chat/expression_parser.h"

namespace talpa::chat {

namespace {

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)), expressions_(tokens_) {}

  Statements run() {
    Statements statements = body({});
    if (!tokens_.is(TokenKind::kEnd)) tokens_.fail_expected("the end of the template");
    return statements;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  /// Statements up to a tag that begins with one of `ends`, whose name becomes the current token.
  Statements body(Names ends) {
    const Nesting nesting(level_, tokens_.at());
    Statements statements;
    while (!tokens_.is(TokenKind::kEnd)) {
      const Position at = tokens_.at();
      if (tokens_.is(TokenKind::kData)) {
        add(statements, at, Text{tokens_.next().text});
      } else if (tokens_.is(TokenKind::kVariableBegin)) {
        tokens_.next();
        add(statements, at, Print{expressions_.tuple()});
        tokens_.expect(TokenKind::kVariableEnd, "}}");
      } else {
        tokens_.expect(TokenKind::kBlockBegin, "{%");
        if (tokens_.is_any_name(ends)) return statements;
        statement(statements);
      }
    }
    if (ends.size() > 0) tokens_.fail_expected(fmt::format("'{}'", *(ends.end() - 1)));
    return statements;
  }

  template <class Node>
  static void add(Statements& statements, Position at, Node node) {
    statements.push_back(std::make_unique<const Statement>(Statement{at, std::move(node)}));
  }

  void end_tag() { tokens_.expect(TokenKind::kBlockEnd, "%}"); }

  void statement(Statements& out) {
    const Position at = tokens_.at();
    const std::string name = tokens_.name("the name of a statement");
    if (name == "if") {
      add(out, at, if_statement());
    } else if (name == "for") {
      add(out, at, for_statement());
    } else if (name == "set") {
      add(out, at, set_statement());
    } else if (name == "macro") {
      add(out, at, macro());
    } else if (name == "with" || name == "generation") {
      add(out, at, name == "with" ? with() : generation());
    } else if (name == "filter") {
      add(out, at, filter_block());
    } else if (name == "break" || name == "continue") {
      loop_control(out, at, name == "break");
    } else {
      refuse_statement(name, at);
    }
    end_tag();
  }

  [[noreturn]] static void refuse_statement(const std::string& name, Position at) {
    for (const std::string_view known :
         {"include", "import", "from", "extends", "block", "call", "autoescape", "do"})
      if (name == known)
        fail(ErrorCode::kUnsupported,
             "chat template, line {}, column {}: the statement '{}' is not supported", at.line,
             at.column, name);
    fail_at(at, "unknown statement '{}'", name);
  }

  void loop_control(Statements& out, Position at, bool is_break) {
    if (loops_ == 0) fail_at(at, "'{}' outside of a loop", is_break ? "break" : "continue");
    if (is_break) {
      add(out, at, Break{});
    } else {
      add(out, at, Continue{});
    }
  }

  If if_statement() {
    If result;
    for (bool more = true; more;) {
      ExpressionPtr condition = expressions_.tuple(false);
      end_tag();
      Statements inside = body({"elif", "else", "endif"});
      result.branches.emplace_back(std::move(condition), std::move(inside));
      more = tokens_.skip_name("elif");
    }
    if (tokens_.skip_name("else")) {
      end_tag();
      result.branches.emplace_back(nullptr, body({"endif"}));
    }
    tokens_.expect_name("endif");
    return result;
  }

  For for_statement() {
    For result;
    result.target = target();
    tokens_.expect_name("in");
    result.iterable = expressions_.tuple(false);
    if (tokens_.skip_name("if")) result.condition = expressions_.expression();
    if (tokens_.is_name("recursive"))
      fail(ErrorCode::kUnsupported, "chat template, line {}: recursive loops are not supported",
           tokens_.at().line);
    end_tag();
    ++loops_;
    result.body = body({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      end_tag();
      result.otherwise = body({"endfor"});
    }
    tokens_.expect_name("endfor");
    return result;
  }

  std::string target_name() {
    const Position at = tokens_.at();
    std::string name = tokens_.name("the name of a variable");
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"})
      if (name == constant) fail_at(at, "cannot assign to '{}'", name);
    return name;
  }

  Target target() {
    Target target;
    const bool parenthesized = tokens_.skip_operator("(");
    target.unpacks = parenthesized;
    target.names.push_back(target_name());
    if (!parenthesized && tokens_.skip_operator(".")) {
      target.attribute = tokens_.name("the name of an attribute");
      return target;
    }
    while (tokens_.skip_operator(",")) {
      target.unpacks = true;
      if (!tokens_.is(TokenKind::kName) || tokens_.is_name("in")) break;
      target.names.push_back(target_name());
    }
    if (parenthesized) tokens_.expect_operator(")");
    return target;
  }

  /// Filters of a block: "| a | b(...)", each applied to the result of the one before.
  std::vector<ExpressionPtr> block_filters(bool first_without_bar) {
    std::vector<ExpressionPtr> filters;
    if (first_without_bar) filters.push_back(expressions_.filter(nullptr));
    while (tokens_.skip_operator("|")) filters.push_back(expressions_.filter(nullptr));
    return filters;
  }

  Set set_statement() {
    Set result;
    result.target = target();
    if (tokens_.skip_operator("=")) {
      result.value = expressions_.tuple();
      return result;
    }
    result.filters = block_filters(false);
    end_tag();
    result.body = body({"endset"});
    tokens_.expect_name("endset");
    return result;
  }

  Macro macro() {
    Macro result;
    result.name = target_name();
    tokens_.expect_operator("(");
    while (!tokens_.skip_operator(")")) {
      const Position at = tokens_.at();
      result.parameters.push_back(target_name());
      const bool has_default = tokens_.skip_operator("=");
      if (!has_default && !result.defaults.empty() && result.defaults.back())
        fail_at(at, "a parameter without a default behind one with");
      result.defaults.push_back(has_default ? expressions_.expression() : nullptr);
      if (!tokens_.is_operator(")")) tokens_.expect_operator(",");
    }
    end_tag();
    const int outer_loops = std::exchange(loops_, 0);
    result.body = body({"endmacro"});
    loops_ = outer_loops;
    tokens_.expect_name("endmacro");
    return result;
  }

  With with() {
    With result;
    while (!tokens_.is(TokenKind::kBlockEnd)) {
      if (!result.names.empty()) tokens_.expect_operator(",");
      result.names.push_back(target_name());
      tokens_.expect_operator("=");
      result.values.push_back(expressions_.expression());
    }
    end_tag();
    result.body = body({"endwith"});
    tokens_.expect_name("endwith");
    return result;
  }

  With generation() {
    end_tag();
    With result;
    result.body = body({"endgeneration"});
    tokens_.expect_name("endgeneration");
    return result;
  }

  FilterBlock filter_block() {
    FilterBlock result;
    result.filters = block_filters(true);
    end_tag();
    result.body = body({"endfilter"});
    tokens_.expect_name("endfilter");
    return result;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int level_ = 0;
  int loops_ = 0;
};

}  // namespace

Statements parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace talpa::chat
