#pragma once

#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace talpa::serve {

/// The sockets of clients that wait or are answered. Safe from several threads.
class OpenSockets {
 public:
  void add(int socket) {
    const std::lock_guard lock(mutex_);
    sockets_.insert(socket);
  }
  /// To be called before it is closed.
  void remove(int socket) {
    const std::lock_guard lock(mutex_);
    sockets_.erase(socket);
    removed_.notify_all();
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return sockets_.size();
  }
  /// Waits until none is left and ends those that are there after that long. Returns how many.
  std::size_t end_all(std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex_);
    removed_.wait_until(lock, end, [this] { return sockets_.empty(); });
    for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
    return sockets_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable removed_;
  std::set<int> sockets_;
};

}  // namespace talpa::serve
