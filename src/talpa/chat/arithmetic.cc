#include <cmath>

#include "talpa/chat/format_text.h"
#include "talpa/chat/operators.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

[[noreturn]] void refuse_operands(std::string_view operation, const Value& a, const Value& b) {
  refuse("unsupported operand type(s) for {}: '{}' and '{}'", operation, a.type_name(),
         b.type_name());
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a % b < 0) != (b < 0));
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (std::int64_t i = 0; i < exponent && (base < -1 || base > 1); ++i)
    if (__builtin_mul_overflow(result, base, &result)) refuse("an integer beyond 64 bits");
  if (base == 0) return exponent == 0;
  if (base == 1 || (base == -1 && exponent % 2 == 0)) return 1;
  return base == -1 ? -1 : result;
}

Value integers(std::string_view operation, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (operation == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (operation == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (operation == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) refuse("division by zero");
    if (b == -1) {
      overflow = __builtin_sub_overflow(std::int64_t{0}, a, &result);
      if (operation == "%") return std::int64_t{0};
    } else {
      result = operation == "//" ? floor_divide(a, b) : a - floor_divide(a, b) * b;
    }
  }
  if (overflow) refuse("an integer beyond 64 bits");
  return result;
}

Value numbers(std::string_view operation, double a, double b) {
  if (operation == "+") return a + b;
  if (operation == "-") return a - b;
  if (operation == "*") return a * b;
  if (operation == "**") return std::pow(a, b);
  if (b == 0) refuse("division by zero");
  if (operation == "/") return a / b;
  if (operation == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value number_result(std::string_view operation, const Value& a, const Value& b) {
  const bool integral = a.is_integral() && b.is_integral();
  if (integral && operation == "**" && b.integer() >= 0)
    return integer_power(a.integer(), b.integer());
  if (integral && operation != "/" && operation != "**")
    return integers(operation, a.integer(), b.integer());
  return numbers(operation, a.number(), b.number());
}

Value joined(const Value& a, const Value& b) {
  ListBuilder out;
  for (const Value* list : {&a, &b})
    for (const Value& item : list->list().items) out.add(item);
  return out.take(a.list().tuple);
}

Value repeated(const Value& sequence, std::int64_t count) {
  if (count < 0 || !truth(sequence)) count = 0;
  if (sequence.is(Kind::kString)) {
    TextBuilder out;
    out.add(static_cast<std::size_t>(count), sequence.string());
    return out.take();
  }
  ListBuilder out;
  for (std::int64_t i = 0; i < count; ++i)
    for (const Value& item : sequence.list().items) out.add(item);
  return out.take(sequence.list().tuple);
}

bool is_text_or_list(const Value& value) {
  return value.is(Kind::kString) || value.is(Kind::kList);
}

Value concatenated(const Value& a, const Value& b) {
  TextBuilder out;
  out.add(text_of(a));
  out.add(text_of(b));
  return out.take();
}

}  // namespace

Value binary(std::string_view operation, const Value& a, const Value& b) {
  if (operation == "~") return concatenated(a, b);
  for (const Value* value : {&a, &b})
    if (!value->is_defined()) refuse("{}", value->message());
  if (a.is_number() && b.is_number()) return number_result(operation, a, b);
  if (operation == "+" && a.is(Kind::kString) && b.is(Kind::kString)) return concatenated(a, b);
  if (operation == "+" && a.is(Kind::kList) && b.is(Kind::kList) &&
      a.list().tuple == b.list().tuple)
    return joined(a, b);
  if (operation == "*" && is_text_or_list(a) && b.is_integral()) return repeated(a, b.integer());
  if (operation == "*" && is_text_or_list(b) && a.is_integral()) return repeated(b, a.integer());
  if (operation == "%" && a.is(Kind::kString)) return format_text(a.string(), b);
  refuse_operands(operation, a, b);
}

Value negated(const Value& value) {
  if (!value.is_defined()) refuse("{}", value.message());
  if (value.is_integral()) return integers("-", 0, value.integer());
  if (value.is(Kind::kFloat)) return -value.number();
  refuse("bad operand type for unary -: '{}'", value.type_name());
}

}  // namespace talpa::chat
