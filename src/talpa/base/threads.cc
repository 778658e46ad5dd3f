#include "talpa/base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace talpa {

namespace {

/// Cores granted by the cgroup (v2, then v1), or a large number where there is no quota.
double cgroup_quota() {
  constexpr double kNone = 1e9;
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period)
    return quota == "max" || period <= 0 ? kNone : std::stod(quota) / period;
  double microseconds = 0;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> microseconds && v1_period >> period && microseconds > 0 && period > 0)
    return microseconds / period;
  return kNone;
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0
                  ? CPU_COUNT(&set)
                  : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, static_cast<int>(std::min<double>(cores, cgroup_quota() + 0.5)));
}

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable start, finished;
  std::uint64_t job = 0;
  int running = 0;
  bool stop = false;
  const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
  std::int64_t count = 0, grain = 1;
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void work() {
    try {
      while (true) {
        const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= count) return;
        (*body)(begin, std::min(count, begin + grain));
      }
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  void loop() {
    std::uint64_t seen = 0;
    while (true) {
      {
        std::unique_lock lock(mutex);
        start.wait(lock, [&] { return stop || job != seen; });
        if (stop) return;
        seen = job;
      }
      work();
      const std::lock_guard lock(mutex);
      if (--running == 0) finished.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int size) : size_(std::max(1, size)), state_(std::make_unique<State>()) {
  for (int i = 1; i < size_; ++i) state_->workers.emplace_back([this] { state_->loop(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->start.notify_all();
  for (auto& worker : state_->workers) worker.join();
}

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain,
                              const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  if (size_ == 1 || count <= grain) {
    for (std::int64_t begin = 0; begin < count; begin += grain)
      body(begin, std::min(count, begin + grain));
    return;
  }
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    s.body = &body;
    s.count = count;
    s.grain = grain;
    s.next = 0;
    s.error = nullptr;
    s.running = size_ - 1;
    ++s.job;
  }
  s.start.notify_all();
  s.work();
  std::unique_lock lock(s.mutex);
  s.finished.wait(lock, [&] { return s.running == 0; });
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace talpa
