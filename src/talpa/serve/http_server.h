#pragma once

#include <chrono>
#include <memory>

#include "talpa/serve/router.h"

namespace talpa::serve {

struct HttpLimits {
  std::size_t body_bytes = std::size_t{16} << 20;
  std::chrono::seconds patience{30};  ///< for a request to come in, and for a client to read
  int connections = 256;              ///< at once; 64 more wait, others are answered 503
};

/// Takes connections and passes what comes on them to a router. A thread each; no TLS.
class HttpServer {
 public:
  HttpServer(Router router, HttpLimits limits);
  ~HttpServer();

  /// Throws kIo when it cannot. Port 0 takes a free one; returns which.
  int bind(const std::string& host, int port);
  /// Answers until stop().
  void run();
  /// Takes no more connections; run() returns when the requests under way are answered. Those
  /// that are not by `end` are cut. The first call counts.
  void stop(std::chrono::steady_clock::time_point end = std::chrono::steady_clock::now() +
                                                        std::chrono::hours(24));

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace talpa::serve
