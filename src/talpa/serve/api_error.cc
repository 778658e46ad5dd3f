#include "talpa/serve/api_error.h"

#include "talpa/base/error.h"
#include "talpa/engine/scheduler.h"

namespace talpa::serve {

namespace {

ApiError unavailable(int status, const char* code, const char* message) {
  ApiError error(status, message);
  error.type = status == 429 ? "rate_limit_error" : "server_error";
  error.code = code;
  return error;
}

ApiError of_error(const Error& thrown) {
  ApiError error(http_status(thrown.code()), thrown.what());
  if (error.status == 422) error.status = 400;
  if (error.status >= 500) error.type = "server_error";
  return error;
}

}  // namespace

Json ApiError::json() const {
  auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return {
      {"error",
       {{"message", message}, {"type", type}, {"param", or_null(param)}, {"code", or_null(code)}}}};
}

HttpReply ApiError::reply() const {
  HttpReply reply{.status = status, .body = text_of(json())};
  if (status == 429 || status == 503) reply.headers.emplace_back("Retry-After", "1");
  if (status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  reply.note = [code = code, param = param] {
    return (code.empty() ? "" : " error=" + code) + (param.empty() ? "" : " param=" + param);
  };
  return reply;
}

ApiError api_error_of(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ApiError& error) {
    return error;
  } catch (const QueueFull& error) {
    return unavailable(429, "queue_full", error.what());
  } catch (const Draining& error) {
    return unavailable(503, "shutting_down", error.what());
  } catch (const Error& error) {
    return of_error(error);
  } catch (const std::bad_alloc&) {
    return unavailable(503, "out_of_memory", "there is not enough memory for this request");
  } catch (const std::exception& error) {
    return unavailable(500, "internal", error.what());
  }
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace talpa::serve
