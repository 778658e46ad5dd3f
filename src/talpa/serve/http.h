#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace talpa::serve {

/// A request as it came, body and all.
struct HttpRequest {
  std::string method, path, body, remote, authorization, host, origin;
  std::function<bool()> client_gone = [] { return false; };
};

/// An answer, whole or in parts.
struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  /// If set, the body is what it returns until nullopt; "" means that there is nothing yet. It is
  /// destroyed when the client goes away.
  std::function<std::optional<std::string>()> next_part;
  /// What the log says of it beside the status, asked at its end.
  std::function<std::string()> note;
};

using Handler = std::function<HttpReply(const HttpRequest&)>;

struct Route {
  std::string method, path;
  Handler handler;
  bool needs_key = true;
};

}  // namespace talpa::serve
