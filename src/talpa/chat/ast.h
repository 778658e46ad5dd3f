#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "talpa/chat/position.h"
#include "talpa/chat/value.h"

namespace talpa::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
/// [a, b] or, as a tuple, (a, b).
struct Sequence {
  std::vector<ExpressionPtr> items;
  bool tuple = false;
};
struct Mapping {
  std::vector<ExpressionPtr> keys;
  std::vector<ExpressionPtr> values;
};
/// object.name
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
/// object[index]
struct Item {
  ExpressionPtr object;
  ExpressionPtr index;
};
/// object[start:stop:step]; what is absent is null.
struct Slice {
  ExpressionPtr object;
  ExpressionPtr start;
  ExpressionPtr stop;
  ExpressionPtr step;
};
/// What stands in parentheses behind a function, a filter or a test.
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::string> names;
  std::vector<ExpressionPtr> named;
};
struct Invocation {
  ExpressionPtr callee;
  CallArguments arguments;
};
/// object | name(...); in a filter block without an object.
struct Filter {
  ExpressionPtr object;
  std::string name;
  CallArguments arguments;
};
/// object is name(...)
struct Test {
  ExpressionPtr object;
  std::string name;
  CallArguments arguments;
};
/// operation is "-", "+" or "not".
struct Unary {
  std::string operation;
  ExpressionPtr operand;
};
/// Arithmetic, "~", "and", "or".
struct Binary {
  std::string operation;
  ExpressionPtr left;
  ExpressionPtr right;
};
/// first operations[0] rest[0] operations[1] rest[1] ..., all of which must hold.
struct Comparison {
  ExpressionPtr first;
  std::vector<std::string> operations;
  std::vector<ExpressionPtr> rest;
};
/// value if condition else otherwise; without "else" the last is null.
struct Conditional {
  ExpressionPtr condition;
  ExpressionPtr value;
  ExpressionPtr otherwise;
};

struct Expression {
  Position at;
  /// Levels of the tree below and with this node; the parser bounds it.
  int depth = 1;
  std::variant<Literal, Name, Sequence, Mapping, Attribute, Item, Slice, Invocation, Filter, Test,
               Unary, Binary, Comparison, Conditional>
      node;
};

struct Statement;
using Statements = std::vector<std::unique_ptr<const Statement>>;

struct Text {
  std::string text;
};
struct Print {
  ExpressionPtr value;
};
/// Branches in order; a null condition is "else".
struct If {
  std::vector<std::pair<ExpressionPtr, Statements>> branches;
};
/// What is assigned to: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool unpacks = false;
  std::string attribute;
};
struct For {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;
  Statements body;
  Statements otherwise;
};
/// {% set target = value %}, or, if value is null, {% set target | filters %}body{% endset %}.
struct Set {
  Target target;
  ExpressionPtr value;
  std::vector<ExpressionPtr> filters;
  Statements body;
};
struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  /// Null where a parameter has none.
  std::vector<ExpressionPtr> defaults;
  Statements body;
};
/// {% with a = 1 %} and {% generation %}: a body with names of its own.
struct With {
  std::vector<std::string> names;
  std::vector<ExpressionPtr> values;
  Statements body;
};
struct FilterBlock {
  std::vector<ExpressionPtr> filters;
  Statements body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<Text, Print, If, For, Set, Macro, With, FilterBlock, Break, Continue> node;
};

}  // namespace talpa::chat
