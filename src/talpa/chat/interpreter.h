#pragma once

#include <memory>
#include <string>
#include <vector>

#include "talpa/chat/ast.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/scope.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

/// Runs the statements of one template once. Expressions are in evaluate.cc, statements in
/// execute.cc.
class Interpreter {
 public:
  explicit Interpreter(Runtime& runtime) : runtime_(runtime), root_(nullptr), scope_(&root_) {}
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  void define(const std::string& name, Value value) { root_.set(name, std::move(value)); }

  /// What the statements print. Errors name the place in the template where they arose.
  std::string render(const Statements& statements);

 private:
  /// How a list of statements was left.
  enum class Flow { kNormal, kBreak, kContinue };

  Value evaluate(const Expression& expression);
  Value evaluate(const Literal& node, Position at);
  Value evaluate(const Name& node, Position at);
  Value evaluate(const Sequence& node, Position at);
  Value evaluate(const Mapping& node, Position at);
  Value evaluate(const Attribute& node, Position at);
  Value evaluate(const Item& node, Position at);
  Value evaluate(const Slice& node, Position at);
  Value evaluate(const Invocation& node, Position at);
  Value evaluate(const Filter& node, Position at);
  Value evaluate(const Test& node, Position at);
  Value evaluate(const Unary& node, Position at);
  Value evaluate(const Binary& node, Position at);
  Value evaluate(const Comparison& node, Position at);
  Value evaluate(const Conditional& node, Position at);

  Call call_of(std::string_view name, Value self, const CallArguments& arguments);
  Value filtered(const Filter& node, Value value, Position at);
  Value filtered(const std::vector<ExpressionPtr>& filters, Value value);
  Value call_macro(const Callable& callable, const Call& call);
  void bind(const Macro& macro, const Call& call);

  Flow execute(const Statements& statements);
  Flow execute(const Text& node);
  Flow execute(const Print& node);
  Flow execute(const If& node);
  Flow execute(const For& node);
  Flow execute(const Set& node);
  Flow execute(const Macro& node);
  Flow execute(const With& node);
  Flow execute(const FilterBlock& node);
  Flow execute(const Break&) { return Flow::kBreak; }
  Flow execute(const Continue&) { return Flow::kContinue; }

  Value loop_items(const For& node);
  void assign(const Target& target, const Value& value);
  /// What the statements print, in a scope of their own.
  Value captured(const Statements& statements);

  /// Makes a new scope the current one; leaves it, and the current output, when it ends.
  class Block {
   public:
    Block(Interpreter& interpreter, Scope* parent);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    Scope& scope() { return *scope_; }

   private:
    Interpreter& interpreter_;
    Scope* outer_;
    std::unique_ptr<Scope> scope_;
  };

  static constexpr int kMaxCallDepth = 40;

  Runtime& runtime_;
  Scope root_;
  std::vector<std::unique_ptr<Scope>> kept_scopes_;
  Scope* scope_;
  TextBuilder* out_ = nullptr;
  Position at_;
  int call_depth_ = 0;
};

}  // namespace talpa::chat
