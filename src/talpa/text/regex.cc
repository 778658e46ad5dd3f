#define PCRE2_CODE_UNIT_WIDTH 8
#include "talpa/text/regex.h"

#include <pcre2.h>

#include "talpa/base/error.h"
#include "talpa/text/regex_dialect.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

/// Working memory of matching, one a thread.
struct Workspace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr);
  Workspace() {
    pcre2_set_match_limit(context, kMatchLimit);
    if (stack) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Workspace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  const std::string translated = translate_regex(pattern);
  int error = 0;
  std::size_t offset = 0;
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr);
  if (!code->code)
    fail(ErrorCode::kFormat, "regular expression \"{}\": {}", pattern_, message_of(error));
  // Without a just-in-time compiler pcre2_match interprets: slower, same matches.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  code_ = std::move(code);
}

void Regex::find_all(std::string_view text, const OnMatch& on_match) const {
  thread_local Workspace workspace;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t position = 0;
  std::size_t last_end = std::string_view::npos;
  while (position <= text.size()) {
    const int rc = pcre2_match(code_->code, subject, text.size(), position, PCRE2_NO_UTF_CHECK,
                               workspace.data, workspace.context);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0)
      fail(ErrorCode::kUnsupported, "regular expression \"{}\" on {} bytes of text: {}", pattern_,
           text.size(), message_of(rc));
    const std::size_t* span = pcre2_get_ovector_pointer(workspace.data);
    const std::size_t begin = span[0], end = span[1];
    if (begin == end) {
      // An empty match right behind the last one is none; go on one character further.
      if (begin != last_end) on_match(begin, end);
      position =
          end < text.size() ? end + static_cast<std::size_t>(character_size(text, end)) : end + 1;
    } else {
      on_match(begin, end);
      position = end;
    }
    last_end = end;
  }
}

std::string escape_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\.+*?()|[]{}^$#&-~/").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace talpa::text
