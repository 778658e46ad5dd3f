#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "talpa/base/processors.h"

namespace talpa {

/// A pool of `size` threads including the caller. Idle workers spin for some tens of microseconds,
/// then sleep, and no job waits for a worker that is not running: a neighbour costs in proportion.
class ThreadPool {
 public:
  /// With `processors`, thread i runs on processors[i] only. The thread that constructs is the
  /// first: it and threads that it starts later are bound until the pool ends. Throws kUsage if
  /// there are fewer than `size`, kUnsupported when the system refuses one.
  explicit ThreadPool(int size, std::span<const int> processors = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(begin, end) over disjoint pieces of [0, count), each at most `grain` long,
  /// handed out in order to whoever is free, so that uneven pieces and threads even out; returns
  /// when all are done. The first exception is rethrown.
  /// Not reentrant: body must not call parallel_for of the same pool.
  void parallel_for(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& body);

 private:
  struct State;
  int size_;
  std::unique_ptr<State> state_;
};

/// A pool of `threads` threads, 0 = available_cores(); with `pin` each on a processor of its own,
/// physical cores first. Throws kUsage for more pinned threads than processors.
ThreadPool make_thread_pool(int threads, bool pin = false);

}  // namespace talpa
