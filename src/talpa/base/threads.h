#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace talpa {

/// Cores this process may use: affinity and cgroup quota honoured, at least 1.
int available_cores();

/// A pool of `size` threads including the caller. Idle workers spin for some tens of microseconds,
/// then sleep, and no job waits for a worker that is not running: a neighbour costs in proportion.
class ThreadPool {
 public:
  explicit ThreadPool(int size);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(begin, end) over disjoint pieces of [0, count), each at most `grain` long,
  /// handed out dynamically; returns when all are done. The first exception is rethrown.
  /// Not reentrant: body must not call parallel_for of the same pool.
  void parallel_for(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& body);

 private:
  struct State;
  int size_;
  std::unique_ptr<State> state_;
};

}  // namespace talpa
