#include "talpa/base/threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "talpa/base/error.h"

namespace talpa {

/// Rounds of waiting before a thread sleeps: some tens of microseconds, longer than the serial
/// stretches between the products of a layer and much shorter than a time slice.
constexpr int kSpinRounds = 1500;

inline void pause() { __builtin_ia32_pause(); }

struct ThreadPool::State {
  /// Odd while a job is open, in steps of kJob; the lowest bits count the workers inside. A
  /// worker enters only an open job, and fields of a job change only when nobody is inside: a
  /// worker that another process keeps from running is not waited for.
  static constexpr std::uint32_t kJob = 1u << 10, kInside = kJob - 1;
  alignas(64) std::atomic<std::uint32_t> word{0};
  alignas(64) std::atomic<std::int64_t> next{0};
  alignas(64) std::atomic<bool> stop{false};
  std::atomic<bool> owner_sleeps{false};
  const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
  std::int64_t count = 0, grain = 1;
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;
  pthread_t owner = pthread_self();
  std::vector<int> unbound;  ///< where the owner may run when it is not bound

  ~State() {
    stop = true;
    word += 2 * kJob;
    word.notify_all();
    for (auto& worker : workers) worker.join();
    if (unbound.empty() || !pthread_equal(owner, pthread_self())) return;
    try {
      bind_thread(owner, unbound);
    } catch (const Error&) {  // the system took processors away meanwhile: stay where we are
    }
  }

  static bool is_open(std::uint32_t w) { return (w / kJob) % 2 == 1; }

  void work() {
    try {
      while (true) {
        const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= count) return;
        (*body)(begin, std::min(count, begin + grain));
      }
    } catch (...) {
      next = count;
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  /// Returns when `word` may have left `job`, or the pool stops.
  void wait_for_change(std::uint32_t job) {
    for (int i = 0; i < kSpinRounds; ++i) {
      if (word.load(std::memory_order_acquire) / kJob != job || stop) return;
      pause();
    }
    const std::uint32_t seen = word.load(std::memory_order_acquire);
    if (seen / kJob == job && !stop) word.wait(seen, std::memory_order_acquire);
  }

  void loop() {
    std::uint32_t done = 0;  // the last job looked at
    while (!stop) {
      std::uint32_t seen = word.load(std::memory_order_acquire);
      if (!is_open(seen) || seen / kJob == done) {
        wait_for_change(seen / kJob);
        continue;
      }
      if (!word.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
      done = seen / kJob;
      work();
      const std::uint32_t left = word.fetch_sub(1, std::memory_order_acq_rel) - 1;
      if ((left & kInside) == 0 && owner_sleeps) word.notify_all();
    }
  }

  /// The owner waits for those inside.
  void close() {
    std::uint32_t now = word.fetch_add(kJob, std::memory_order_acq_rel) + kJob;
    for (int i = 0; (now & kInside) != 0; ++i) {
      if (i < kSpinRounds) {
        pause();
      } else {
        owner_sleeps = true;
        now = word.load(std::memory_order_acquire);
        if ((now & kInside) != 0) word.wait(now, std::memory_order_acquire);
        owner_sleeps = false;
      }
      now = word.load(std::memory_order_acquire);
    }
  }
};

ThreadPool::ThreadPool(int size, std::span<const int> processors)
    : size_(std::max(1, size)), state_(std::make_unique<State>()) {
  TALPA_CHECK(size_ <= static_cast<int>(State::kInside));
  if (!processors.empty() && static_cast<int>(processors.size()) < size_)
    fail(ErrorCode::kUsage, "{} threads cannot be pinned to {} processors", size_,
         processors.size());
  for (int i = 1; i < size_; ++i)
    state_->workers.emplace_back([state = state_.get()] { state->loop(); });
  if (processors.empty()) return;
  state_->unbound = processors_of(state_->owner);
  bind_thread(state_->owner, processors.first(1));
  for (int i = 1; i < size_; ++i)
    bind_thread(state_->workers[static_cast<std::size_t>(i - 1)].native_handle(),
                processors.subspan(static_cast<std::size_t>(i), 1));
}

ThreadPool::~ThreadPool() = default;

ThreadPool make_thread_pool(int threads, bool pin) {
  const Processors& processors = available_processors();
  return ThreadPool(threads > 0 ? threads : processors.advised_threads(),
                    pin ? std::span<const int>(processors.allowed) : std::span<const int>());
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
  s.body = &body;
  s.count = count;
  s.grain = grain;
  s.next.store(0, std::memory_order_relaxed);
  s.word.fetch_add(State::kJob, std::memory_order_acq_rel);
  s.word.notify_all();
  s.work();
  s.close();
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace talpa
