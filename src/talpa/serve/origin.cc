#include "talpa/serve/origin.h"

#include <fmt/format.h>

#include <algorithm>

namespace talpa::serve {

namespace {

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return text;
}

/// HOST:PORT of SCHEME://HOST:PORT.
std::string authority_of(const std::string& origin) {
  const std::size_t at = origin.find("://");
  return at == std::string::npos ? std::string() : lower_case(origin.substr(at + 3));
}

/// HOST of HOST:PORT.
std::string name_of_authority(const std::string& authority) {
  const std::size_t from = authority.starts_with('[') ? authority.find(']') : 0;
  return lower_case(authority.substr(0, authority.find(':', std::min(from, authority.size()))));
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

OriginRules::OriginRules(const std::string& host, const std::string& cors_origin)
    : local_(is_loopback(lower_case(host))),
      cors_origin_(lower_case(cors_origin)),
      names_{"localhost", "127.0.0.1", "[::1]", lower_case(host)} {
  if (!cors_origin.empty()) names_.push_back(name_of_authority(authority_of(cors_origin)));
}

std::string OriginRules::refusal(const HttpRequest& head) const {
  if (cors_origin_ == "*") return {};
  const bool known =
      std::find(names_.begin(), names_.end(), name_of_authority(head.host)) != names_.end();
  if (local_ && !head.host.empty() && !known)
    return fmt::format("the server of this machine does not go by the name {}",
                       head.host.substr(0, 100));
  const bool own = authority_of(head.origin) == lower_case(head.host);
  if (head.method == "POST" && !head.origin.empty() && !own &&
      lower_case(head.origin) != cors_origin_)
    return fmt::format("pages of {} may not call this server; --cors-origin would let them",
                       head.origin.substr(0, 100));
  return {};
}

}  // namespace talpa::serve
