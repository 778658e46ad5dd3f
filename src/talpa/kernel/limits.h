#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "talpa/base/threads.h"

namespace talpa {

/// Work per second of the clock, and per second of CPU time that all threads took together.
struct Rate {
  double per_second = 0;
  double per_core_second = 0;
};

/// What a number of threads reach together.
struct ThreadLimits {
  int threads = 1;
  Rate dram_read;  ///< bytes
  Rate fp32;       ///< operations of fp32 multiply-adds, two each
  Rate int8;       ///< operations of int8 multiply-adds summed in 32 bits
  Rate bf16;       ///< the same of bf16 summed in fp32; 0 where the CPU has no such instruction
};

/// What a machine can do at most, measured: performance is given as a share of it.
struct MachineLimits {
  ThreadLimits one, all;
  /// Instructions that did most, e.g. "avx512 vpdpbusd"; bf16 may be empty.
  std::string read_with, fp32_with, int8_with, bf16_with;
  std::uint64_t buffer_bytes = 0;  ///< read from beginning to end
  std::uint64_t cache_bytes = 0;   ///< last-level cache; 0 = unknown
};

struct LimitOptions {
  double seconds = 0.25;  ///< of each measurement
  /// Of which a quarter at most is read; 0 = unknown, and 1 GiB is.
  std::uint64_t free_memory = 0;
};

/// Measures reading memory that no cache holds, and arithmetic on registers. A limit is that of
/// the best instruction for the job, whether or not a kernel uses it. CPU time spent waiting for
/// memory grows with the threads that share it: where others hold cores, rates of reading per
/// core-second are high.
class LimitMeter {
 public:
  /// Takes the memory and picks the instructions. Warns when memory is too small to get past the
  /// caches.
  explicit LimitMeter(ThreadPool& pool, const LimitOptions& options = {});
  ~LimitMeter();
  LimitMeter(const LimitMeter&) = delete;
  LimitMeter& operator=(const LimitMeter&) = delete;

  /// Best of several passes, with one thread and with all: what the machine can do.
  MachineLimits best();

  /// To be called between rounds of other work: every quarter of a second it takes a pass of some
  /// 30 milliseconds with all threads. Neighbours and the host slow limits and work alike.
  void sample();
  /// Medians of the samples: what the machine could do meanwhile. nullopt with fewer than three.
  std::optional<ThreadLimits> meanwhile() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Operations of fp32 multiply-adds a second (two each) that the pool can reach together: its size
/// times the best of several passes a core-second, in about a tenth of a second.
double fp32_limit(ThreadPool& pool);

/// Bytes of the last-level cache as the system reports it; 0 = unknown.
std::uint64_t last_level_cache_bytes();

}  // namespace talpa
