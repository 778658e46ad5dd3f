#pragma once

#include "talpa/serve/http.h"

namespace talpa::serve {

/// What pages of other sites may not do with a browser that runs on this machine: reach a server
/// that listens on this machine only by a name that they point here (DNS rebinding), or post to it.
class OriginRules {
 public:
  /// `host`: what the server listens on. `cors_origin`: pages that may call it; empty = none but
  /// its own, * = all.
  OriginRules(const std::string& host, const std::string& cors_origin);

  /// Why the request must not pass, or empty.
  std::string refusal(const HttpRequest& head) const;

 private:
  bool local_;
  std::string cors_origin_;
  std::vector<std::string> names_;  ///< that this server goes by
};

}  // namespace talpa::serve
