#pragma once

#include <exception>

#include "talpa/base/config.h"
#include "talpa/serve/http.h"

namespace talpa::serve {

/// An error in the form of OpenAI's API.
struct ApiError : std::exception {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  ///< the field, or empty
  std::string code;   ///< a name for programs, or empty

  ApiError(int status_, std::string message_) : status(status_), message(std::move(message_)) {}
  const char* what() const noexcept override { return message.c_str(); }
  Json json() const;
  HttpReply reply() const;
};

/// A field of the request that is wrong.
template <class... Args>
[[noreturn]] void fail_field(const std::string& param, fmt::format_string<Args...> format,
                             Args&&... args) {
  ApiError error(400, param + ": " + fmt::format(format, std::forward<Args>(args)...));
  error.param = param;
  throw error;
}

/// Whatever was thrown, as such an error.
ApiError api_error_of(std::exception_ptr thrown);

/// Text of JSON that may hold broken UTF-8, which is replaced.
std::string text_of(const Json& json);

}  // namespace talpa::serve
