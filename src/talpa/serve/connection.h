#pragma once

#include <httplib.h>

#include <array>
#include <chrono>

namespace talpa::serve {

/// A client's connection, which it owns. A request may take so many bytes and so long and no more,
/// whatever its head says.
class Connection : public httplib::Stream {
 public:
  Connection(int socket, std::chrono::seconds patience) : socket_(socket), patience_(patience) {}
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// True when a request begins within so long.
  bool wait_for_request(std::chrono::milliseconds patience) const;
  /// The next request begins: so many bytes from now on, to be read in time.
  void begin(std::size_t bytes);
  /// More bytes may be read.
  void allow(std::size_t bytes) { budget_ += bytes; }
  bool too_long() const { return too_long_; }
  /// The other side hung up.
  bool gone() const;
  /// No other request is to come on it.
  void close_after() { last_ = true; }
  bool is_last() const { return last_; }

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, std::size_t size) override;
  ssize_t write(const char* data, std::size_t size) override;
  using Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool poll_for(short events, std::chrono::milliseconds patience) const;
  ssize_t refill();

  int socket_;
  std::chrono::seconds patience_;
  std::chrono::steady_clock::time_point deadline_;
  std::size_t budget_ = 0;
  bool too_long_ = false, last_ = false;
  std::array<char, 16384> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace talpa::serve
