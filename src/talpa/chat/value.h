#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace talpa::chat {

class Value;
class Dict;
struct List;
struct Namespace;
struct Callable;
struct Loop;

/// No value may be larger (bytes of text and 32 an item) or nested deeper.
inline constexpr std::size_t kMaxValueSize = std::size_t{1} << 25;
inline constexpr int kMaxValueDepth = 100;

/// What a name or an attribute is that is not there. It prints as nothing; using it otherwise
/// fails with `message`.
struct Undefined {
  std::string message = "the value is undefined";
};

enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInteger,
  kFloat,
  kString,
  kList,
  kDict,
  kNamespace,
  kCallable,
  kLoop,
};

/// A value of a template. Copies share what they hold, which never changes, but for a namespace,
/// which belongs to the renderer and must not be used after it.
class Value {
 public:
  Value() : storage_(std::make_shared<const Undefined>()) {}
  Value(std::nullptr_t) : storage_(std::monostate{}) {}
  Value(bool value) : storage_(value) {}
  Value(std::int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  /// Throws kFormat if longer than kMaxValueSize, as do the next ones.
  Value(std::string value);
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(Dict value);
  Value(Namespace* value) : storage_(value) {}
  Value(Callable value);
  Value(std::shared_ptr<const Loop> value) : storage_(std::move(value)) {}
  static Value list(std::vector<Value> items, bool tuple = false);
  static Value undefined(std::string message);

  Kind kind() const { return static_cast<Kind>(storage_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_defined() const { return !is(Kind::kUndefined); }
  /// An integer or, as in Python, a bool.
  bool is_integral() const { return is(Kind::kInteger) || is(Kind::kBool); }
  bool is_number() const { return is_integral() || is(Kind::kFloat); }

  bool boolean() const { return std::get<bool>(storage_); }
  /// Of is_integral().
  std::int64_t integer() const;
  /// Of is_number().
  double number() const;
  const std::string& string() const { return *std::get<Text>(storage_); }
  const List& list() const { return *std::get<ListPtr>(storage_); }
  const Dict& dict() const { return *std::get<DictPtr>(storage_); }
  Namespace& name_space() const { return *std::get<Namespace*>(storage_); }
  const Callable& callable() const { return *std::get<CallablePtr>(storage_); }
  const Loop& loop() const { return *std::get<LoopPtr>(storage_); }
  /// Why it is undefined.
  const std::string& message() const { return std::get<UndefinedPtr>(storage_)->message; }

  /// Python's name of its type, for messages.
  std::string_view type_name() const;
  /// Size in the unit of kMaxValueSize; known without a walk.
  std::size_t size() const;
  int depth() const;

 private:
  using UndefinedPtr = std::shared_ptr<const Undefined>;
  using Text = std::shared_ptr<const std::string>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using CallablePtr = std::shared_ptr<const Callable>;
  using LoopPtr = std::shared_ptr<const Loop>;
  std::variant<UndefinedPtr, std::monostate, bool, std::int64_t, double, Text, ListPtr, DictPtr,
               Namespace*, CallablePtr, LoopPtr>
      storage_;
};

/// A list or a tuple.
struct List {
  std::vector<Value> items;
  bool tuple = false;
  std::size_t size = 0;
  int depth = 1;
};

/// A dictionary in the order of insertion.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  /// Keys are strings, numbers, bools or none; throws kFormat for others.
  void set(const Value& key, Value value);
  /// Null if absent.
  const Value* find(const Value& key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t size() const { return size_; }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
  std::size_t size_ = 32;
  int depth_ = 1;
};

/// namespace(...): the one thing whose attributes a template may set.
struct Namespace {
  std::map<std::string, Value> attributes;
};

struct Call;
using Native = Value (*)(Call&);
struct Macro;
class Scope;

/// A function of ours, perhaps bound to an object, or a macro with the scope it was written in.
struct Callable {
  std::string name;
  Native function = nullptr;
  Value self;
  const Macro* macro = nullptr;
  Scope* scope = nullptr;
};

/// The variable `loop` in one round.
struct Loop {
  Value items;
  std::int64_t index = 0;
  int depth = 1;
};

}  // namespace talpa::chat
