#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "talpa/chat/position.h"
#include "talpa/chat/value.h"

namespace talpa::chat {

/// What one rendering may spend and what it must keep until its end.
class Runtime {
 public:
  Runtime(std::size_t steps, std::chrono::system_clock::time_point now) : left_(steps), now_(now) {}

  /// Throws kFormat once everything is spent.
  void spend(std::size_t steps) {
    if (steps > left_) refuse("the template takes too many steps; is it of a model you trust?");
    left_ -= steps;
  }
  std::chrono::system_clock::time_point now() const { return now_; }

  Namespace* new_namespace() {
    spend(kNamespaceCost);
    namespaces_.push_back(std::make_unique<Namespace>());
    return namespaces_.back().get();
  }

 private:
  static constexpr std::size_t kNamespaceCost = 256;

  std::size_t left_;
  std::chrono::system_clock::time_point now_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

/// A call of a function, a filter, a test or a method: what it is applied to (the piped value,
/// the object of a method; undefined for functions) and what stands in its parentheses.
struct Call {
  Runtime& runtime;
  std::string_view name;
  Value self;
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// The arguments of a call under the names of the function's parameters.
class Parameters {
 public:
  /// Throws kFormat for an argument that has no parameter, or if one of the first `required`
  /// parameters has no argument.
  Parameters(const Call& call, std::initializer_list<std::string_view> names,
             std::size_t required = 0);

  bool has(std::size_t index) const { return values_[index] != nullptr; }
  const Value& operator[](std::size_t index) const { return *values_[index]; }
  /// The argument, which must be of that type, or `absent` if there is none or it is none.
  std::string text(std::size_t index, std::string_view absent) const;
  std::int64_t integer(std::size_t index, std::int64_t absent) const;
  bool boolean(std::size_t index, bool absent) const;

 private:
  const Call& call_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

/// Null if there is none of that name.
Native find_filter(std::string_view name);
Native find_test(std::string_view name);
Native find_function(std::string_view name);
/// A method of strings, lists or dictionaries; none of them changes its object.
Native find_method(Kind kind, std::string_view name);

/// A native function under its name in templates.
struct NamedNative {
  std::string_view name;
  Native function;
};
/// The function of that name in a table, or null.
template <class Table>
Native find_in(const Table& table, std::string_view name) {
  for (const NamedNative& entry : table)
    if (entry.name == name) return entry.function;
  return nullptr;
}
Native find_string_method(std::string_view name);
Native find_string_predicate(std::string_view name);
Native find_text_filter(std::string_view name);
Native find_sequence_filter(std::string_view name);
Native find_selection_filter(std::string_view name);

/// Runs a native function and takes the cost of its arguments and of its result.
Value run(Native function, Call& call);
/// The filter or test that an argument of map, select or reject names, applied to `value` with the
/// arguments of `call` from position `first` on.
Value apply(Native function, std::string_view name, const Call& call, std::size_t first,
            const Value& value);

}  // namespace talpa::chat
