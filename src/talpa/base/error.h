#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace talpa {

/// What went wrong, for the exit status and the HTTP status.
enum class ErrorCode {
  kUsage,        ///< bad command line
  kConfig,       ///< a setting is unknown, malformed or contradictory
  kIo,           ///< the file system said no
  kFormat,       ///< a file does not follow its format
  kShape,        ///< tensors do not fit together
  kUnsupported,  ///< well formed, but not something talpa can do
  kNotFound,     ///< a named file, tensor or key is absent
  kInterrupted,  ///< stopped by the user; what was there is saved
  kInternal,     ///< a defect of talpa
};

/// The one exception type. The message says what was expected, what came, where
/// (file, tensor, key, byte) and, where it helps, what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// Process exit status of a code: 2 for usage, 130 for an interrupt, 1 otherwise.
int exit_status(ErrorCode code);
/// HTTP status of a code: 4xx for what the client sent, 500 for defects.
int http_status(ErrorCode code);
/// Lower-case name of a code, e.g. "format".
const char* name_of(ErrorCode code);

/// Throws Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws kInternal when an invariant of our own does not hold.
#define TALPA_CHECK(condition)                                                                    \
  do {                                                                                            \
    if (!(condition))                                                                             \
      ::talpa::fail(::talpa::ErrorCode::kInternal, "{}:{}: check failed: {}", __FILE__, __LINE__, \
                    #condition);                                                                  \
  } while (false)

}  // namespace talpa
