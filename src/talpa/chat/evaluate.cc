#include "talpa/chat/interpreter.h"
#include "talpa/chat/operators.h"

namespace talpa::chat {

namespace {

/// What evaluating one node costs, beside the size of its operands.
constexpr std::size_t kNodeCost = 64;

}  // namespace

Value Interpreter::evaluate(const Expression& expression) {
  at_ = expression.at;
  runtime_.spend(kNodeCost);
  return std::visit([&](const auto& node) { return evaluate(node, expression.at); },
                    expression.node);
}

Value Interpreter::evaluate(const Literal& node, Position) { return node.value; }

Value Interpreter::evaluate(const Name& node, Position) {
  if (const Value* found = scope_->find(node.name)) return *found;
  if (const Native function = find_function(node.name))
    return Callable{node.name, function, {}, nullptr, nullptr};
  return Value::undefined(fmt::format("'{}' is undefined", node.name));
}

Value Interpreter::evaluate(const Sequence& node, Position at) {
  ListBuilder out;
  for (const auto& item : node.items) out.add(evaluate(*item));
  at_ = at;
  return out.take(node.tuple);
}

Value Interpreter::evaluate(const Mapping& node, Position at) {
  Dict dict;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const Value key = evaluate(*node.keys[i]);
    Value value = evaluate(*node.values[i]);
    at_ = at;
    dict.set(key, std::move(value));
  }
  return dict;
}

Value Interpreter::evaluate(const Attribute& node, Position at) {
  const Value object = evaluate(*node.object);
  at_ = at;
  return attribute_of(object, node.name);
}

Value Interpreter::evaluate(const Item& node, Position at) {
  const Value object = evaluate(*node.object);
  const Value index = evaluate(*node.index);
  at_ = at;
  if (object.is(Kind::kString)) runtime_.spend(object.size());
  return item_of(object, index);
}

Value Interpreter::evaluate(const Slice& node, Position at) {
  const Value object = evaluate(*node.object);
  const auto part = [&](const ExpressionPtr& bound) {
    return bound ? evaluate(*bound) : Value(nullptr);
  };
  const Value start = part(node.start);
  const Value stop = part(node.stop);
  const Value step = part(node.step);
  at_ = at;
  runtime_.spend(object.size());
  return slice_of(object, &start, &stop, &step);
}

Call Interpreter::call_of(std::string_view name, Value self, const CallArguments& arguments) {
  Call call{runtime_, name, std::move(self), {}, {}};
  for (const auto& argument : arguments.positional) call.positional.push_back(evaluate(*argument));
  for (std::size_t i = 0; i < arguments.named.size(); ++i)
    call.named.emplace_back(arguments.names[i], evaluate(*arguments.named[i]));
  return call;
}

Value Interpreter::evaluate(const Invocation& node, Position at) {
  const Value callee = evaluate(*node.callee);
  at_ = node.callee->at;
  if (!callee.is_defined()) refuse("{}", callee.message());
  if (!callee.is(Kind::kCallable)) refuse("'{}' object is not callable", callee.type_name());
  const Callable& callable = callee.callable();
  Call call = call_of(callable.name, callable.self, node.arguments);
  at_ = at;
  return callable.macro ? call_macro(callable, call) : run(callable.function, call);
}

Value Interpreter::filtered(const Filter& node, Value value, Position at) {
  const Native filter = find_filter(node.name);
  if (!filter) fail_at(at, "No filter named '{}'.", node.name);
  Call call = call_of(node.name, std::move(value), node.arguments);
  at_ = at;
  return run(filter, call);
}

Value Interpreter::filtered(const std::vector<ExpressionPtr>& filters, Value value) {
  for (const auto& filter : filters)
    value = filtered(std::get<Filter>(filter->node), std::move(value), filter->at);
  return value;
}

Value Interpreter::evaluate(const Filter& node, Position at) {
  return filtered(node, evaluate(*node.object), at);
}

Value Interpreter::evaluate(const Test& node, Position at) {
  Value value = evaluate(*node.object);
  const Native test = find_test(node.name);
  if (!test) fail_at(at, "No test named '{}'.", node.name);
  Call call = call_of(node.name, std::move(value), node.arguments);
  at_ = at;
  return run(test, call);
}

Value Interpreter::evaluate(const Unary& node, Position at) {
  const Value value = evaluate(*node.operand);
  at_ = at;
  if (node.operation == "not") return !truth(value);
  if (node.operation == "-") return negated(value);
  return negated(negated(value));
}

Value Interpreter::evaluate(const Binary& node, Position at) {
  Value left = evaluate(*node.left);
  if (node.operation == "or") return truth(left) ? left : evaluate(*node.right);
  if (node.operation == "and") return truth(left) ? evaluate(*node.right) : left;
  const Value right = evaluate(*node.right);
  at_ = at;
  runtime_.spend(left.size() + right.size());
  Value result = binary(node.operation, left, right);
  runtime_.spend(result.size());
  return result;
}

Value Interpreter::evaluate(const Comparison& node, Position at) {
  Value left = evaluate(*node.first);
  for (std::size_t i = 0; i < node.rest.size(); ++i) {
    Value right = evaluate(*node.rest[i]);
    at_ = at;
    runtime_.spend(left.size() + right.size());
    const std::string& operation = node.operations[i];
    const bool holds = operation == "=="   ? equal(left, right)
                       : operation == "!=" ? !equal(left, right)
                       : operation == "<"  ? less(left, right)
                       : operation == ">"  ? less(right, left)
                       : operation == "<=" ? less(left, right) || equal(left, right)
                       : operation == ">=" ? less(right, left) || equal(left, right)
                       : operation == "in" ? contains(right, left)
                                           : !contains(right, left);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate(const Conditional& node, Position) {
  if (truth(evaluate(*node.condition))) return evaluate(*node.value);
  if (node.otherwise) return evaluate(*node.otherwise);
  return Value::undefined("the inline if-expression evaluated to false and no else was given");
}

}  // namespace talpa::chat
