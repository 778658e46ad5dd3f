// What may stand behind "is".
#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

template <bool (*kHolds)(const Value&)>
Value test_of_value(Call& call) {
  const Parameters given(call, {});
  return kHolds(call.self);
}

template <bool (*kHolds)(const Value&, const Value&)>
Value test_of_two(Call& call) {
  const Parameters given(call, {"other"}, 1);
  return kHolds(call.self, given[0]);
}

template <Kind kKind>
bool is_kind(const Value& value) {
  return value.is(kKind);
}
bool is_defined(const Value& value) { return value.is_defined(); }
bool is_true(const Value& value) { return value.is(Kind::kBool) && value.boolean(); }
bool is_false(const Value& value) { return value.is(Kind::kBool) && !value.boolean(); }
bool is_number(const Value& value) { return value.is_number(); }
// What is undefined can be looped over, measured and, only to fail, called.
bool is_sequence(const Value& value) {
  return value.is(Kind::kString) || value.is(Kind::kList) || value.is(Kind::kDict) ||
         !value.is_defined();
}
bool is_iterable(const Value& value) { return is_sequence(value) || value.is(Kind::kLoop); }
bool is_callable(const Value& value) { return value.is(Kind::kCallable) || !value.is_defined(); }

bool different(const Value& a, const Value& b) { return !equal(a, b); }
bool greater(const Value& a, const Value& b) { return less(b, a); }
bool less_or_equal(const Value& a, const Value& b) { return less(a, b) || equal(a, b); }
bool greater_or_equal(const Value& a, const Value& b) { return less(b, a) || equal(a, b); }
bool is_in(const Value& item, const Value& container) { return contains(container, item); }
bool same(const Value& a, const Value& b) { return a.kind() == b.kind() && equal(a, b); }

std::int64_t remainder(const Value& value, const Value& divisor) {
  const Value rest = binary("%", value, divisor);
  return rest.is_integral() ? rest.integer() : rest.number() != 0;
}
bool divisible(const Value& value, const Value& by) { return remainder(value, by) == 0; }
bool is_odd(const Value& value) { return remainder(value, Value(std::int64_t{2})) == 1; }
bool is_even(const Value& value) { return remainder(value, Value(std::int64_t{2})) == 0; }

template <bool kUpper>
Value case_test(Call& call) {
  Call inner{call.runtime, call.name, text_of(call.self), call.positional, call.named};
  return find_method(Kind::kString, kUpper ? "isupper" : "islower")(inner);
}

template <bool kFilter>
bool is_named(const Value& value) {
  return value.is(Kind::kString) &&
         (kFilter ? find_filter(value.string()) : find_test(value.string())) != nullptr;
}

constexpr NamedNative kTests[] = {
    {"defined", test_of_value<is_defined>},
    {"undefined", test_of_value<is_kind<Kind::kUndefined>>},
    {"none", test_of_value<is_kind<Kind::kNone>>},
    {"boolean", test_of_value<is_kind<Kind::kBool>>},
    {"true", test_of_value<is_true>},
    {"false", test_of_value<is_false>},
    {"integer", test_of_value<is_kind<Kind::kInteger>>},
    {"float", test_of_value<is_kind<Kind::kFloat>>},
    {"number", test_of_value<is_number>},
    {"string", test_of_value<is_kind<Kind::kString>>},
    {"mapping", test_of_value<is_kind<Kind::kDict>>},
    {"iterable", test_of_value<is_iterable>},
    {"sequence", test_of_value<is_sequence>},
    {"callable", test_of_value<is_callable>},
    {"odd", test_of_value<is_odd>},
    {"even", test_of_value<is_even>},
    {"upper", case_test<true>},
    {"lower", case_test<false>},
    {"filter", test_of_value<is_named<true>>},
    {"test", test_of_value<is_named<false>>},
    {"in", test_of_two<is_in>},
    {"eq", test_of_two<equal>},
    {"equalto", test_of_two<equal>},
    {"==", test_of_two<equal>},
    {"ne", test_of_two<different>},
    {"!=", test_of_two<different>},
    {"lt", test_of_two<less>},
    {"lessthan", test_of_two<less>},
    {"<", test_of_two<less>},
    {"le", test_of_two<less_or_equal>},
    {"<=", test_of_two<less_or_equal>},
    {"gt", test_of_two<greater>},
    {"greaterthan", test_of_two<greater>},
    {">", test_of_two<greater>},
    {"ge", test_of_two<greater_or_equal>},
    {">=", test_of_two<greater_or_equal>},
    {"sameas", test_of_two<same>},
    {"divisibleby", test_of_two<divisible>},
};

}  // namespace

Native find_test(std::string_view name) { return find_in(kTests, name); }

}  // namespace talpa::chat
