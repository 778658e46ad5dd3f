// Functions that every template may call.
#include <ctime>

#include "talpa/chat/operators.h"
#include "talpa/chat/runtime.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

constexpr std::int64_t kMaxRange = 100000;

Value range(Call& call) {
  const Parameters given(call, {"start", "stop", "step"}, 1);
  const bool one = !given.has(1);
  const std::int64_t start = one ? 0 : given.integer(0, 0);
  const std::int64_t stop = one ? given.integer(0, 0) : given.integer(1, 0);
  const std::int64_t step = given.integer(2, 1);
  if (step == 0) refuse("range() arg 3 must not be zero");
  ListBuilder out;
  std::int64_t count = 0;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (++count > kMaxRange) refuse("Range too big. The maximum is {}.", kMaxRange);
    out.add(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return out.take();
}

/// The entries of a mapping, if one is given, and the named arguments.
Dict entries(const Call& call) {
  if (call.positional.size() > 1) refuse("{}() takes one mapping", call.name);
  Dict dict;
  if (call.positional.size() == 1) {
    if (!call.positional[0].is(Kind::kDict)) refuse("{}() takes a mapping", call.name);
    dict = call.positional[0].dict();
  }
  for (const auto& [name, value] : call.named) dict.set(name, value);
  return dict;
}

Value make_dict(Call& call) { return entries(call); }

Value make_namespace(Call& call) {
  Namespace* result = call.runtime.new_namespace();
  const Dict given = entries(call);
  for (const auto& [key, value] : given.entries()) {
    if (!key.is(Kind::kString)) refuse("attributes of a namespace have texts as names");
    result->attributes[key.string()] = value;
  }
  return result;
}

Value raise_exception(Call& call) {
  const Parameters given(call, {"message"}, 1);
  fail(ErrorCode::kUsage, "{}", text_of(given[0]));
}

Value strftime_now(Call& call) {
  const std::string format = Parameters(call, {"format"}, 1).text(0, "");
  if (format.empty()) return "";
  const std::time_t seconds = std::chrono::system_clock::to_time_t(call.runtime.now());
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[512];
  const std::size_t size = std::strftime(text, sizeof text, format.c_str(), &local);
  if (size == 0) refuse("strftime_now() makes more than {} bytes, or none", sizeof text - 1);
  return std::string_view(text, size);
}

constexpr NamedNative kFunctions[] = {
    {"range", range},
    {"dict", make_dict},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

}  // namespace

Native find_function(std::string_view name) { return find_in(kFunctions, name); }

}  // namespace talpa::chat
