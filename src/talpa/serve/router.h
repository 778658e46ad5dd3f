#pragma once

#include "talpa/serve/http.h"
#include "talpa/serve/metrics.h"
#include "talpa/serve/origin.h"

namespace talpa::serve {

struct RouterOptions {
  std::string api_key;      ///< empty = none is asked for
  std::string cors_origin;  ///< told to browsers; empty = other sites' pages may not call
  std::string host;         ///< what the server listens on
};

/// Finds a request's handler, refuses what may not pass, and makes errors answers.
class Router {
 public:
  Router(std::vector<Route> routes, RouterOptions options, Metrics& metrics);

  /// The answer to a request that goes no further, by its head alone: 404, 405, 401, 403, and
  /// what browsers ask before a call.
  std::optional<HttpReply> refuse(const HttpRequest& head) const;
  HttpReply answer(const HttpRequest& request) const;
  /// An answer to what is no whole request.
  HttpReply broken(int status, const std::string& message) const;
  /// Counts an answer and writes its line in the log.
  void log(const HttpRequest& request, const HttpReply& reply, double seconds, bool whole) const;

 private:
  std::optional<HttpReply> refuse_path(const HttpRequest& head) const;
  const Route* find(const HttpRequest& request) const;
  HttpReply finished(HttpReply reply) const;

  std::vector<Route> routes_;
  RouterOptions options_;
  OriginRules origins_;
  Metrics& metrics_;
};

}  // namespace talpa::serve
