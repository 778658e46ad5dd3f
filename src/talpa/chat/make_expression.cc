#include <algorithm>

#include "talpa/chat/expression_parser.h"

namespace talpa::chat {

namespace {

int depth_of(const ExpressionPtr& expression) { return expression ? expression->depth : 0; }

int depth_of(const std::vector<ExpressionPtr>& expressions) {
  int depth = 0;
  for (const auto& expression : expressions) depth = std::max(depth, depth_of(expression));
  return depth;
}

int depth_of(const CallArguments& arguments) {
  return std::max(depth_of(arguments.positional), depth_of(arguments.named));
}

int depth_below(const Literal&) { return 0; }
int depth_below(const Name&) { return 0; }
int depth_below(const Sequence& node) { return depth_of(node.items); }
int depth_below(const Mapping& node) {
  return std::max(depth_of(node.keys), depth_of(node.values));
}
int depth_below(const Attribute& node) { return depth_of(node.object); }
int depth_below(const Item& node) { return std::max(depth_of(node.object), depth_of(node.index)); }
int depth_below(const Slice& node) {
  return std::max(
      {depth_of(node.object), depth_of(node.start), depth_of(node.stop), depth_of(node.step)});
}
int depth_below(const Invocation& node) {
  return std::max(depth_of(node.callee), depth_of(node.arguments));
}
int depth_below(const Filter& node) {
  return std::max(depth_of(node.object), depth_of(node.arguments));
}
int depth_below(const Test& node) {
  return std::max(depth_of(node.object), depth_of(node.arguments));
}
int depth_below(const Unary& node) { return depth_of(node.operand); }
int depth_below(const Binary& node) { return std::max(depth_of(node.left), depth_of(node.right)); }
int depth_below(const Comparison& node) {
  return std::max(depth_of(node.first), depth_of(node.rest));
}
int depth_below(const Conditional& node) {
  return std::max({depth_of(node.condition), depth_of(node.value), depth_of(node.otherwise)});
}

}  // namespace

ExpressionPtr make_expression(Position at, Node node) {
  // Chains such as a + b + c nest without recursion of the parser.
  const int depth = 1 + std::visit([](const auto& n) { return depth_below(n); }, node);
  if (depth > 2 * kMaxNesting) fail_at(at, "an expression of more than {} levels", 2 * kMaxNesting);
  return std::make_unique<const Expression>(Expression{at, depth, std::move(node)});
}

}  // namespace talpa::chat
