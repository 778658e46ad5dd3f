#include <algorithm>

#include "talpa/chat/interpreter.h"
#include "talpa/chat/operators.h"

namespace talpa::chat {

namespace {

constexpr std::size_t kStatementCost = 64;

}  // namespace

Interpreter::Block::Block(Interpreter& interpreter, Scope* parent)
    : interpreter_(interpreter),
      outer_(interpreter.scope_),
      scope_(std::make_unique<Scope>(parent)) {
  interpreter.scope_ = scope_.get();
}

Interpreter::Block::~Block() {
  interpreter_.scope_ = outer_;
  if (scope_->kept()) interpreter_.kept_scopes_.push_back(std::move(scope_));
}

std::string Interpreter::render(const Statements& statements) {
  TextBuilder out;
  out_ = &out;
  try {
    execute(statements);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with("chat template")) throw;
    fail(error.code(), "chat template, line {}, column {}: {}", at_.line, at_.column, message);
  }
  return out.take();
}

Interpreter::Flow Interpreter::execute(const Statements& statements) {
  for (const auto& statement : statements) {
    at_ = statement->at;
    runtime_.spend(kStatementCost);
    const Flow flow = std::visit([&](const auto& node) { return execute(node); }, statement->node);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Text& node) {
  runtime_.spend(node.text.size());
  out_->add(node.text);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Print& node) {
  const Value value = evaluate(*node.value);
  runtime_.spend(value.size());
  out_->add(text_of(value));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const If& node) {
  for (const auto& [condition, body] : node.branches)
    if (!condition || truth(evaluate(*condition))) return execute(body);
  return Flow::kNormal;
}

/// What the loop runs over, with its condition applied to each item first.
Value Interpreter::loop_items(const For& node) {
  const Value all = items_of(evaluate(*node.iterable));
  runtime_.spend(all.size());
  if (!node.condition) return all;
  ListBuilder kept;
  Block block(*this, scope_);
  for (const Value& item : all.list().items) {
    assign(node.target, item);
    if (truth(evaluate(*node.condition))) kept.add(item);
  }
  return kept.take();
}

Interpreter::Flow Interpreter::execute(const For& node) {
  const Value items = loop_items(node);
  const auto count = static_cast<std::int64_t>(items.list().items.size());
  Block block(*this, scope_);
  for (std::int64_t i = 0; i < count; ++i) {
    block.scope().clear();
    runtime_.spend(kStatementCost);
    block.scope().set("loop", std::make_shared<const Loop>(Loop{items, i}));
    assign(node.target, items.list().items[static_cast<std::size_t>(i)]);
    if (execute(node.body) == Flow::kBreak) break;
  }
  if (count > 0) return Flow::kNormal;
  return execute(node.otherwise);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const Value* object = scope_->find(target.names[0]);
    if (!object || !object->is(Kind::kNamespace))
      refuse("cannot assign attribute on non-namespace object");
    object->name_space().attributes[target.attribute] = value;
    return;
  }
  if (!target.unpacks) return scope_->set(target.names[0], value);
  const Value items = items_of(value);
  if (items.list().items.size() != target.names.size())
    refuse("expected {} values to unpack, got {}", target.names.size(), items.list().items.size());
  for (std::size_t i = 0; i < target.names.size(); ++i)
    scope_->set(target.names[i], items.list().items[i]);
}

Value Interpreter::captured(const Statements& statements) {
  TextBuilder inner;
  TextBuilder* const outer = std::exchange(out_, &inner);
  {
    const Block block(*this, scope_);
    execute(statements);
  }
  out_ = outer;
  runtime_.spend(inner.view().size());
  return inner.take();
}

Interpreter::Flow Interpreter::execute(const Set& node) {
  const Position at = at_;
  const Value value =
      node.value ? evaluate(*node.value) : filtered(node.filters, captured(node.body));
  at_ = at;
  assign(node.target, value);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Macro& node) {
  scope_->keep();
  scope_->set(node.name, Callable{node.name, nullptr, nullptr, &node, scope_});
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const With& node) {
  std::vector<Value> values;
  for (const auto& value : node.values) values.push_back(evaluate(*value));
  const Block block(*this, scope_);
  for (std::size_t i = 0; i < values.size(); ++i) scope_->set(node.names[i], values[i]);
  return execute(node.body);
}

Interpreter::Flow Interpreter::execute(const FilterBlock& node) {
  const Value value = filtered(node.filters, captured(node.body));
  out_->add(text_of(value));
  return Flow::kNormal;
}

void Interpreter::bind(const Macro& macro, const Call& call) {
  if (call.positional.size() > macro.parameters.size())
    refuse("macro '{}' takes not more than {} arguments", macro.name, macro.parameters.size());
  for (const auto& [name, value] : call.named)
    if (std::find(macro.parameters.begin(), macro.parameters.end(), name) == macro.parameters.end())
      refuse("macro '{}' takes no keyword argument '{}'", macro.name, name);
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i];
    const auto named = std::find_if(call.named.begin(), call.named.end(),
                                    [&](const auto& argument) { return argument.first == name; });
    if (i < call.positional.size()) {
      scope_->set(name, call.positional[i]);
    } else if (named != call.named.end()) {
      scope_->set(name, named->second);
    } else if (macro.defaults[i]) {
      scope_->set(name, evaluate(*macro.defaults[i]));
    } else {
      scope_->set(name, Value::undefined(fmt::format("parameter '{}' was not provided", name)));
    }
  }
}

Value Interpreter::call_macro(const Callable& callable, const Call& call) {
  if (call_depth_ >= kMaxCallDepth) refuse("macros call each other deeper than {}", kMaxCallDepth);
  ++call_depth_;
  TextBuilder inner;
  TextBuilder* const outer = std::exchange(out_, &inner);
  {
    const Block block(*this, callable.scope);
    bind(*callable.macro, call);
    execute(callable.macro->body);
  }
  out_ = outer;
  --call_depth_;
  runtime_.spend(inner.view().size());
  return inner.take();
}

}  // namespace talpa::chat
