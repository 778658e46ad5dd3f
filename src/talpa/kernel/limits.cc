#include "talpa/kernel/limits.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "talpa/base/cpu.h"
#include "talpa/base/log.h"
#include "talpa/base/stopwatch.h"
#include "talpa/kernel/limit_functions.h"
#include "talpa/kernel/limit_sets.h"

namespace talpa {

namespace {

using kernel::ArithmeticLoop;
using kernel::LimitFunctions;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
/// What a thread reads at a time.
constexpr std::int64_t kReadPiece = 4 << 20;
/// Runs of a loop that one thread does in a pass, about a millisecond each.
constexpr std::int64_t kRunsPerPass = 16;

constexpr Rate ThreadLimits::*kRates[] = {&ThreadLimits::dram_read, &ThreadLimits::fp32,
                                          &ThreadLimits::int8, &ThreadLimits::bf16};

/// Makes a result count as used.
template <class T>
void use(T value) {
  [[maybe_unused]] volatile T sink = value;
}

/// A loop with a number of rounds that takes about a millisecond.
struct TimedLoop {
  ArithmeticLoop loop;
  std::int64_t rounds = 0;
  double operations_per_second = 0;

  double operations() const {
    return static_cast<double>(rounds) * static_cast<double>(loop.operations);
  }
};

TimedLoop calibrated(const ArithmeticLoop& loop) {
  constexpr double kSeconds = 1e-3;
  TimedLoop timed{loop, 256, 0};
  while (true) {
    const Stopwatch watch;
    use(loop.run(timed.rounds));
    const double seconds = watch.elapsed().cpu;
    timed.operations_per_second = timed.operations() / std::max(seconds, 1e-9);
    if (seconds >= kSeconds) return timed;
    timed.rounds *= 2;
  }
}

/// The fastest loop of any instruction set; without `run` if there is none.
TimedLoop fastest(const std::vector<LimitFunctions>& sets, ArithmeticLoop LimitFunctions::*member) {
  TimedLoop best;
  for (const LimitFunctions& set : sets) {
    if ((set.*member).run == nullptr) continue;
    const TimedLoop timed = calibrated(set.*member);
    if (timed.operations_per_second > best.operations_per_second) best = timed;
  }
  return best;
}

/// Best rates of passes that each do `work`, for about `seconds`.
template <class Pass>
Rate best_rate(double work, double seconds, const Pass& pass) {
  constexpr int kMinPasses = 3;
  Rate best;
  const Stopwatch whole;
  for (int i = 0; i < kMinPasses || whole.elapsed().wall < seconds; ++i) {
    const Stopwatch watch;
    pass();
    const Elapsed elapsed = watch.elapsed();
    best.per_second = std::max(best.per_second, work / std::max(elapsed.wall, 1e-9));
    best.per_core_second = std::max(best.per_core_second, work / std::max(elapsed.cpu, 1e-9));
  }
  return best;
}

Rate arithmetic_rate(const TimedLoop& timed, double seconds, ThreadPool& pool) {
  if (timed.loop.run == nullptr) return {};
  const std::int64_t runs = kRunsPerPass * pool.size();
  return best_rate(static_cast<double>(runs) * timed.operations(), seconds, [&] {
    pool.parallel_for(runs, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) use(timed.loop.run(timed.rounds));
    });
  });
}

/// Memory on huge pages, written once: what was never written is one page of zeros.
class ReadBuffer {
 public:
  ReadBuffer(std::uint64_t bytes, ThreadPool& pool) : bytes_(bytes) {
    constexpr std::uint64_t kHugePage = 2 * kMiB;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    ::madvise(data_.get(), bytes, MADV_HUGEPAGE);
    pool.parallel_for(pieces(), 1, [&](std::int64_t begin, std::int64_t end) {
      std::memset(piece(begin), 1, static_cast<std::size_t>((end - begin) * kReadPiece));
    });
  }

  /// The set that reads fastest: how much to prefetch, and in how many streams, depends on the CPU.
  const LimitFunctions* fastest_reader(const std::vector<LimitFunctions>& sets) const {
    ThreadPool single(1);
    const LimitFunctions* best = nullptr;
    double highest = 0;
    for (const LimitFunctions& set : sets) {
      if (set.read == nullptr) continue;
      const double rate = read_rate(set, 0, single).per_core_second;
      if (rate > highest) best = &set;
      highest = std::max(highest, rate);
    }
    return best;
  }

  Rate read_rate(const LimitFunctions& set, double seconds, ThreadPool& pool) const {
    return best_rate(static_cast<double>(bytes_), seconds, [&] {
      pool.parallel_for(pieces(), 1, [&](std::int64_t begin, std::int64_t end) {
        use(set.read(piece(begin), (end - begin) * kReadPiece));
      });
    });
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::int64_t pieces() const { return static_cast<std::int64_t>(bytes_) / kReadPiece; }
  std::byte* piece(std::int64_t index) const { return data_.get() + index * kReadPiece; }

  std::uint64_t bytes_;  ///< whole pieces
  std::unique_ptr<std::byte, Free> data_;
};

std::uint64_t read_buffer_bytes(std::uint64_t free_memory) {
  const std::uint64_t wanted = std::max(1024 * kMiB, 4 * last_level_cache_bytes());
  const std::uint64_t allowed = free_memory > 0 ? free_memory / 4 : 1024 * kMiB;
  const std::uint64_t bytes = std::max(std::min(wanted, allowed), 16 * kMiB);
  if (bytes < 2 * last_level_cache_bytes())
    log::warn("only {} MiB of memory can be read for the limits: much of it is in the cache",
              bytes / kMiB);
  return bytes / kReadPiece * kReadPiece;
}

}  // namespace

std::vector<LimitFunctions> kernel::limit_functions() {
  const CpuFeatures& cpu = cpu_features();
  std::vector<LimitFunctions> sets;
  if (cpu.avx512) {
    LimitFunctions& set = sets.emplace_back(limit_functions_avx512());
    if (!cpu.avx512_vnni) set.int8 = {};
  }
  if (cpu.avx2) sets.push_back(limit_functions_avx2());
  sets.push_back(limit_functions_reference());
  if (cpu.avx512_bf16) sets.push_back(limit_functions_avx512_bf16());
  if (cpu.amx) sets.push_back(limit_functions_amx());
  return sets;
}

std::uint64_t last_level_cache_bytes() {
  const long bytes = std::max(::sysconf(_SC_LEVEL3_CACHE_SIZE), ::sysconf(_SC_LEVEL2_CACHE_SIZE));
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

MachineLimits measure_limits(ThreadPool& pool, const LimitOptions& options) {
  const std::vector<LimitFunctions> sets = kernel::limit_functions();
  const TimedLoop fp32 = fastest(sets, &LimitFunctions::fp32);
  const TimedLoop int8 = fastest(sets, &LimitFunctions::int8);
  const TimedLoop bf16 = fastest(sets, &LimitFunctions::bf16);
  MachineLimits limits;
  limits.fp32_with = fp32.loop.name;
  limits.int8_with = int8.loop.name;
  if (bf16.loop.run != nullptr) limits.bf16_with = bf16.loop.name;
  limits.buffer_bytes = read_buffer_bytes(options.free_memory);
  limits.cache_bytes = last_level_cache_bytes();
  const ReadBuffer buffer(limits.buffer_bytes, pool);
  const LimitFunctions& reader = *buffer.fastest_reader(sets);
  limits.read_with = reader.name;
  auto measure = [&](ThreadPool& threads) {
    return ThreadLimits{.threads = threads.size(),
                        .dram_read = buffer.read_rate(reader, options.seconds, threads),
                        .fp32 = arithmetic_rate(fp32, options.seconds, threads),
                        .int8 = arithmetic_rate(int8, options.seconds, threads),
                        .bf16 = arithmetic_rate(bf16, options.seconds, threads)};
  };
  ThreadPool single(1);
  limits.one = measure(single);
  limits.all = pool.size() > 1 ? measure(pool) : limits.one;
  // More threads do no less: where it looks so, others held the cores.
  for (const auto rate : kRates) {
    double& several = (limits.all.*rate).per_second;
    several = std::max(several, (limits.one.*rate).per_second);
  }
  return limits;
}

MachineLimits higher_limits(const MachineLimits& a, const MachineLimits& b) {
  MachineLimits higher = a;
  for (const auto threads : {&MachineLimits::one, &MachineLimits::all})
    for (const auto rate : kRates)
      for (const auto per : {&Rate::per_second, &Rate::per_core_second}) {
        double& value = higher.*threads.*rate.*per;
        value = std::max(value, b.*threads.*rate.*per);
      }
  return higher;
}

}  // namespace talpa
