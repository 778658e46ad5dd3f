#include "talpa/serve/router.h"

#include "talpa/base/log.h"
#include "talpa/serve/api_error.h"

namespace talpa::serve {

namespace {

/// Takes as long wherever the texts differ.
bool equal_secrets(std::string_view a, std::string_view b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
  return difference == 0;
}

bool same_method(const std::string& asked, const std::string& has) {
  return asked == has || (asked == "HEAD" && has == "GET");
}

}  // namespace

Router::Router(std::vector<Route> routes, RouterOptions options, Metrics& metrics)
    : routes_(std::move(routes)),
      options_(std::move(options)),
      origins_(options_.host, options_.cors_origin),
      metrics_(metrics) {}

const Route* Router::find(const HttpRequest& request) const {
  for (const Route& route : routes_)
    if (route.path == request.path && same_method(request.method, route.method)) return &route;
  return nullptr;
}

HttpReply Router::finished(HttpReply reply) const {
  if (!options_.cors_origin.empty())
    reply.headers.emplace_back("Access-Control-Allow-Origin", options_.cors_origin);
  return reply;
}

/// No method of this path, or nothing there.
std::optional<HttpReply> Router::refuse_path(const HttpRequest& head) const {
  std::string allowed;
  for (const Route& other : routes_)
    if (other.path == head.path) allowed = other.method;
  if (head.method == "OPTIONS" && !allowed.empty() && !options_.cors_origin.empty())
    return finished({.status = 204,
                     .headers = {{"Access-Control-Allow-Methods", "GET, POST"},
                                 {"Access-Control-Allow-Headers", "Authorization, Content-Type"}}});
  if (allowed.empty())
    return broken(404, fmt::format("there is nothing at {}", head.path.substr(0, 100)));
  HttpReply reply = broken(405, fmt::format("{} takes {}", head.path, allowed));
  reply.headers.emplace_back("Allow", allowed);
  return reply;
}

std::optional<HttpReply> Router::refuse(const HttpRequest& head) const {
  if (const std::string reason = origins_.refusal(head); !reason.empty()) {
    ApiError error(403, reason);
    error.type = "permission_error";
    error.code = "forbidden_origin";
    return finished(error.reply());
  }
  const Route* route = find(head);
  if (route == nullptr) return refuse_path(head);
  if (!route->needs_key || options_.api_key.empty() ||
      equal_secrets(head.authorization, "Bearer " + options_.api_key))
    return std::nullopt;
  ApiError error(401, "a key is needed: Authorization: Bearer KEY");
  error.code = "invalid_api_key";
  return finished(error.reply());
}

HttpReply Router::answer(const HttpRequest& request) const {
  const Route* route = find(request);
  if (route == nullptr) return broken(404, "there is nothing here");
  try {
    return finished(route->handler(request));
  } catch (...) {
    return finished(api_error_of(std::current_exception()).reply());
  }
}

HttpReply Router::broken(int status, const std::string& message) const {
  return finished(ApiError(status, message).reply());
}

void Router::log(const HttpRequest& request, const HttpReply& reply, double seconds,
                 bool whole) const {
  const int status = whole ? reply.status : 499;
  // A path that is not ours would let strangers make up metrics.
  const bool known = find(request) != nullptr;
  metrics_.add_request(known ? request.path : "other", status);
  log::info("request remote={} method={} path={} status={} seconds={:.4f}{}", request.remote,
            known ? request.method : "-", known ? request.path : "-", status, seconds,
            reply.note ? reply.note() : "");
}

}  // namespace talpa::serve
