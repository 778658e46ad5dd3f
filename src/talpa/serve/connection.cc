#include "talpa/serve/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace talpa::serve {

namespace {

using std::chrono::milliseconds;

/// A system call, again if a signal came between.
template <class Call>
auto retried(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

/// Reads what is still on the way, so that the answer is not lost by a reset.
void linger(int socket) {
  shutdown(socket, SHUT_WR);
  const auto end = std::chrono::steady_clock::now() + milliseconds(1000);
  std::array<char, 65536> dropped;
  pollfd item{socket, POLLIN, 0};
  while (std::chrono::steady_clock::now() < end && poll(&item, 1, 200) > 0)
    if (recv(socket, dropped.data(), dropped.size(), 0) <= 0) return;
}

}  // namespace

Connection::~Connection() {
  if (last_) linger(socket_);
  close(socket_);
}

bool Connection::poll_for(short events, milliseconds patience) const {
  pollfd item{socket_, events, 0};
  const int wait = static_cast<int>(std::max<std::int64_t>(patience.count(), 0));
  return retried([&] { return poll(&item, 1, wait); }) > 0 &&
         (item.revents & (events | POLLHUP)) != 0;
}

bool Connection::wait_for_request(milliseconds patience) const {
  return begin_ < end_ || (poll_for(POLLIN, patience) && !gone());
}

void Connection::begin(std::size_t bytes) {
  budget_ = bytes;
  too_long_ = false;
  deadline_ = std::chrono::steady_clock::now() + patience_;
}

bool Connection::gone() const {
  pollfd item{socket_, POLLIN, 0};
  if (poll(&item, 1, 0) <= 0) return false;
  if ((item.revents & (POLLERR | POLLNVAL)) != 0) return true;
  char byte;
  const ssize_t count = recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool Connection::is_readable() const {
  const auto left =
      std::chrono::duration_cast<milliseconds>(deadline_ - std::chrono::steady_clock::now());
  return begin_ < end_ || poll_for(POLLIN, left);
}

bool Connection::is_writable() const { return poll_for(POLLOUT, patience_); }

ssize_t Connection::refill() {
  if (!is_readable()) return -1;
  const ssize_t count = retried([&] { return recv(socket_, buffer_.data(), buffer_.size(), 0); });
  begin_ = 0;
  end_ = count > 0 ? static_cast<std::size_t>(count) : 0;
  return count;
}

ssize_t Connection::read(char* data, std::size_t size) {
  if (begin_ == end_) {
    const ssize_t count = refill();
    if (count <= 0) return count;
  }
  const std::size_t count = std::min(size, end_ - begin_);
  if (count > budget_) {
    too_long_ = true;
    return -1;
  }
  budget_ -= count;
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* data, std::size_t size) {
  if (!is_writable()) return -1;
  return retried([&] { return send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  std::array<char, INET6_ADDRSTRLEN> text{};
  const bool v6 = address.ss_family == AF_INET6;
  const auto& in = reinterpret_cast<const sockaddr_in&>(address);
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
  const void* source = v6 ? static_cast<const void*>(&in6.sin6_addr) : &in.sin_addr;
  if (inet_ntop(address.ss_family, source, text.data(), text.size()) != nullptr) ip = text.data();
  port = ntohs(v6 ? in6.sin6_port : in.sin_port);
}

}  // namespace talpa::serve
