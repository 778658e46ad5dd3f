#include "talpa/serve/http_server.h"

#include <poll.h>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/serve/api_error.h"
#include "talpa/serve/connection.h"
#include "talpa/serve/open_sockets.h"

namespace talpa::serve {

namespace {

constexpr std::size_t kHeadBytes = 64 * 1024;
constexpr int kBacklog = 1024;
constexpr std::size_t kMayWait = 64;  ///< clients that are accepted and have no thread yet
constexpr std::chrono::milliseconds kIdle{5000};  ///< between two requests of a connection

thread_local Connection* current_connection = nullptr;

/// What two readers of a head may understand differently.
bool is_ambiguous(const httplib::Request& request) {
  const auto encodings = request.get_header_value_count("Transfer-Encoding");
  const bool chunked = encodings > 0;
  const auto lengths = request.get_header_value_count("Content-Length");
  if (chunked && strcasecmp(request.get_header_value("Transfer-Encoding").c_str(), "chunked") != 0)
    return true;
  const std::string length = request.get_header_value("Content-Length");
  return lengths > 1 || encodings > 1 || request.get_header_value_count("Host") > 1 ||
         (chunked && lengths > 0) || length.find_first_not_of("0123456789") != std::string::npos;
}

HttpRequest to_request(const httplib::Request& from) {
  return {.method = from.method,
          .path = from.path,
          .body = from.body,
          .remote = from.remote_addr,
          .authorization = from.get_header_value("Authorization"),
          .host = from.get_header_value("Host"),
          .origin = from.get_header_value("Origin"),
          .client_gone = [connection = current_connection] { return connection->gone(); }};
}

struct Ambiguous {
  HttpRequest head;
};

/// An answer of which the library knows nothing, the last on its connection.
std::string bytes_of(const HttpReply& reply) {
  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", reply.status,
                  reply.status == 503 ? "Service Unavailable" : "Bad Request", reply.content_type,
                  reply.body.size());
  for (const auto& [name, value] : reply.headers) head += fmt::format("{}: {}\r\n", name, value);
  return head + "Connection: close\r\n\r\n" + reply.body;
}

}  // namespace

class HttpServer::Impl : public httplib::Server {
 public:
  Impl(Router router, HttpLimits limits) : router_(std::move(router)), limits_(limits) {
    set_payload_max_length(limits_.body_bytes);
    set_keep_alive_timeout(kIdle.count() / 1000);
    set_keep_alive_max_count(1000);
    // The default would let two servers share a port.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    set_pre_routing_handler([this](const httplib::Request& from, httplib::Response& to) {
      return refuse(from, to) ? HandlerResponse::Handled : HandlerResponse::Unhandled;
    });
    const Handler handler = [this](const httplib::Request& from, httplib::Response& to) {
      const auto request = to_request(from);
      send(request, router_.answer(request), to);
    };
    Get(".*", handler);
    Post(".*", handler);
    set_error_handler([this](const httplib::Request& from, httplib::Response& to) {
      if (!answered_) explain(from, to);
    });
  }

  int open(const std::string& host, int port) {
    const int bound = port == 0 ? bind_to_any_port(host) : bind_to_port(host, port) ? port : -1;
    if (bound < 0)
      fail(ErrorCode::kIo, "cannot listen on {}:{}; is another server there?", host, port);
    ::listen(svr_sock_, kBacklog);
    return bound;
  }

  void serve() {
    httplib::ThreadPool pool(static_cast<std::size_t>(limits_.connections));
    while (!stopping_) {
      pollfd item{svr_sock_, POLLIN, 0};
      if (poll(&item, 1, 100) <= 0) continue;
      const int socket = accept4(svr_sock_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket >= 0) {
        take(socket, pool);
      } else if (errno == EMFILE || errno == ENFILE) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    if (const std::size_t cut = open_.end_all(end_); cut > 0)
      log::warn("{} connections cut: their clients did not take the answers in time", cut);
    pool.shutdown();
    ::close(svr_sock_.exchange(INVALID_SOCKET));
  }
  void end(std::chrono::steady_clock::time_point end) {
    if (stopping_) return;
    end_ = end;
    stopping_ = true;
  }

 private:
  void take(int socket, httplib::ThreadPool& pool) {
    if (open_.size() >= static_cast<std::size_t>(limits_.connections) + kMayWait)
      return turn_away(socket);
    open_.add(socket);
    pool.enqueue([this, socket] { process_and_close_socket(socket); });
  }

  void turn_away(int socket) {
    Connection connection(socket, std::chrono::seconds(0));
    ApiError error(503, "too many connections");
    error.type = "server_error";
    error.code = "too_many_connections";
    tell(connection, {}, error.reply());
    ::shutdown(socket, SHUT_WR);
    std::array<char, 16384> dropped;  // else closing would be a reset, and the answer may be lost
    ::recv(socket, dropped.data(), dropped.size(), MSG_DONTWAIT);
  }

  void tell(Connection& connection, HttpRequest request, const HttpReply& reply) {
    int port = 0;
    connection.get_remote_ip_and_port(request.remote, port);
    connection.write(bytes_of(reply));
    router_.log(request, reply, 0, true);
  }

  bool process_and_close_socket(socket_t socket) override {
    const int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    Connection connection(socket, limits_.patience);
    answer_all(connection);
    open_.remove(socket);
    return true;
  }

  void answer_all(Connection& connection) {
    current_connection = &connection;
    bool good = true;
    while (good && wait(connection)) {
      connection.begin(kHeadBytes);
      answered_ = false;
      start_ = std::chrono::steady_clock::now();
      bool closed = false;
      try {
        good = process_request(connection, stopping_, closed,
                               [this](httplib::Request& request) { prepare(request); });
      } catch (const Ambiguous& ambiguous) {
        connection.close_after();
        tell(connection, ambiguous.head,
             router_.broken(400, "the head of the request can be read in two ways"));
      } catch (const std::exception& error) {
        log::error("a connection broke off: {}", error.what());
        good = false;
      }
      if (!good || closed || stopping_) connection.close_after();
      good = good && !connection.is_last();
    }
    current_connection = nullptr;
  }

  bool wait(const Connection& connection) const {
    const auto end = std::chrono::steady_clock::now() + kIdle;
    while (!stopping_ && std::chrono::steady_clock::now() < end)
      if (connection.wait_for_request(std::chrono::milliseconds(100)))
        return true;
      else if (connection.gone())
        return false;
    return connection.wait_for_request(std::chrono::milliseconds(0));
  }

  /// Takes from a head what would make the library unpack bodies, send parts of answers, or read
  /// to the end of the connection.
  void prepare(httplib::Request& request) {
    if (is_ambiguous(request)) throw Ambiguous{to_request(request)};
    for (const char* name : {"Content-Encoding", "Accept-Encoding"}) request.headers.erase(name);
    request.ranges.clear();
    if (request.is_multipart_form_data() || request.has_header("Content-Type")) {
      request.headers.erase("Content-Type");
      request.set_header("Content-Type", "application/json");
    }
    if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding"))
      request.set_header("Content-Length", "0");
    current_connection->allow(limits_.body_bytes + limits_.body_bytes / 4);
  }

  bool refuse(const httplib::Request& from, httplib::Response& to) {
    const HttpRequest head = to_request(from);
    auto reply = router_.refuse(head);
    if (!reply) return false;
    current_connection->close_after();  // its body is not read
    to.set_header("Connection", "close");
    send(head, std::move(*reply), to);
    return true;
  }

  /// What the library itself refuses.
  void explain(const httplib::Request& from, httplib::Response& to) {
    current_connection->close_after();
    if (current_connection->too_long()) to.status = 413;
    const char* message = to.status == 413   ? "the request is too large"
                          : to.status == 414 ? "the path is too long"
                                             : "this is no HTTP request that talpa understands";
    const int status = to.status;
    send(to_request(from), router_.broken(status, message), to);
  }

  void send(const HttpRequest& request, HttpReply reply, httplib::Response& to) {
    answered_ = true;
    to.status = reply.status;
    for (const auto& [name, value] : reply.headers) to.set_header(name, value);
    if (!reply.next_part) {
      to.set_content(reply.body, reply.content_type);
      router_.log(request, reply, seconds(), reply.status != 499);
      return;
    }
    auto shared = std::make_shared<HttpReply>(std::move(reply));
    to.set_chunked_content_provider(
        shared->content_type,
        [shared](std::size_t, httplib::DataSink& sink) { return send_part(*shared, sink); },
        [this, shared, request](bool whole) {
          router_.log(request, *shared, seconds(), whole);
          shared->next_part = nullptr;
        });
  }

  static bool send_part(const HttpReply& reply, httplib::DataSink& sink) {
    try {
      const auto part = reply.next_part();
      // Who closes the sending side of a stream is taken to have left.
      if (part && current_connection != nullptr && current_connection->gone()) return false;
      if (part) return part->empty() ? sink.is_writable() : sink.write(part->data(), part->size());
      sink.done();
      return true;
    } catch (const std::exception& error) {
      log::error("a stream broke off: {}", error.what());
      return false;
    }
  }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  Router router_;
  HttpLimits limits_;
  OpenSockets open_;
  std::chrono::steady_clock::time_point end_;
  std::atomic<bool> stopping_{false};
  static thread_local bool answered_;
  static thread_local std::chrono::steady_clock::time_point start_;
};

thread_local bool HttpServer::Impl::answered_ = false;
thread_local std::chrono::steady_clock::time_point HttpServer::Impl::start_;

HttpServer::HttpServer(Router router, HttpLimits limits)
    : impl_(std::make_unique<Impl>(std::move(router), limits)) {}
HttpServer::~HttpServer() = default;

int HttpServer::bind(const std::string& host, int port) { return impl_->open(host, port); }
void HttpServer::run() { impl_->serve(); }
void HttpServer::stop(std::chrono::steady_clock::time_point end) { impl_->end(end); }

}  // namespace talpa::serve
