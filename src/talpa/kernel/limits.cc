#include "talpa/kernel/limits.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

#include "talpa/base/cpu.h"
#include "talpa/base/log.h"
#include "talpa/base/stopwatch.h"
#include "talpa/kernel/limit_functions.h"
#include "talpa/kernel/limit_sets.h"

namespace talpa {

/// Named, since LimitMeter::State has members of these types.
namespace limit_parts {

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

/// Memory on huge pages, each with data of its own: what was never written is one page of zeros,
/// and a host may merge equal pages.
class ReadBuffer {
 public:
  ReadBuffer(std::uint64_t bytes, ThreadPool& pool) : bytes_(bytes) {
    constexpr std::uint64_t kHugePage = 2 * kMiB;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    ::madvise(data_.get(), bytes, MADV_HUGEPAGE);
    pool.parallel_for(pieces(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * kReadPiece; i < end * kReadPiece; i += sizeof i)
        std::memcpy(piece(0) + i, &i, sizeof i);
    });
  }

  std::int64_t pieces() const { return static_cast<std::int64_t>(bytes_) / kReadPiece; }

  /// Reads `count` pieces from the one at `first` on, around the end.
  void read(const LimitFunctions& set, std::int64_t first, std::int64_t count,
            ThreadPool& pool) const {
    pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        use(set.read(piece((first + i) % pieces()), kReadPiece));
    });
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
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

/// One rate of each kind, in the order of kRates.
using Rates = std::array<Rate, std::size(kRates)>;

}  // namespace limit_parts

using namespace limit_parts;

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

struct LimitMeter::State {
  std::vector<LimitFunctions> sets = kernel::limit_functions();
  std::array<TimedLoop, 3> loops = {fastest(sets, &LimitFunctions::fp32),
                                    fastest(sets, &LimitFunctions::int8),
                                    fastest(sets, &LimitFunctions::bf16)};
  ThreadPool& pool;
  ThreadPool single{1};
  double seconds;
  ReadBuffer buffer;
  const LimitFunctions* reader = nullptr;
  std::int64_t next_piece = 0;
  std::vector<Rates> samples;
  Stopwatch since_sample;

  State(ThreadPool& threads, const LimitOptions& options)
      : pool(threads),
        seconds(options.seconds),
        buffer(read_buffer_bytes(options.free_memory), threads) {
    pick_reader();
  }

  /// How much to prefetch, and in how many streams, depends on the CPU.
  void pick_reader() {
    const LimitFunctions* fastest = nullptr;
    double highest = 0;
    for (const LimitFunctions& set : sets) {
      if (set.read == nullptr) continue;
      reader = &set;
      const double rate = best_rate(0, single, 0).per_core_second;
      if (rate > highest) fastest = &set;
      highest = std::max(highest, rate);
    }
    reader = fastest;
  }

  /// Does a `share` of a whole pass of the kind of rate and times it.
  Rate pass(std::size_t kind, ThreadPool& threads, double share) {
    double work = 0;
    const Stopwatch watch;
    if (kind == 0) {
      const auto count = std::max<std::int64_t>(std::llround(share * buffer.pieces()), 1);
      buffer.read(*reader, next_piece, count, threads);
      next_piece = (next_piece + count) % buffer.pieces();
      work = static_cast<double>(count * kReadPiece);
    } else {
      const TimedLoop& timed = loops[kind - 1];
      if (timed.loop.run == nullptr) return {};
      const auto runs = std::llround(std::ceil(share * kRunsPerPass)) * threads.size();
      threads.parallel_for(runs, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) use(timed.loop.run(timed.rounds));
      });
      work = static_cast<double>(runs) * timed.operations();
    }
    const Elapsed elapsed = watch.elapsed();
    return {work / std::max(elapsed.wall, 1e-9), work / std::max(elapsed.cpu, 1e-9)};
  }

  /// Best of whole passes, at least three.
  Rate best_rate(std::size_t kind, ThreadPool& threads, double for_seconds) {
    constexpr int kMinPasses = 3;
    Rate best;
    const Stopwatch watch;
    for (int i = 0; i < kMinPasses || watch.elapsed().wall < for_seconds; ++i) {
      const Rate rate = pass(kind, threads, 1);
      best.per_second = std::max(best.per_second, rate.per_second);
      best.per_core_second = std::max(best.per_core_second, rate.per_core_second);
    }
    return best;
  }

  ThreadLimits best_rates(ThreadPool& threads) {
    ThreadLimits limits{.threads = threads.size()};
    for (std::size_t kind = 0; kind < std::size(kRates); ++kind)
      limits.*kRates[kind] = best_rate(kind, threads, seconds);
    return limits;
  }

  double median_of_samples(std::size_t kind, double Rate::*per) const {
    std::vector<double> values;
    for (const Rates& rates : samples) values.push_back(rates[kind].*per);
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }
};

double fp32_limit(ThreadPool& pool) {
  const TimedLoop timed = fastest(kernel::limit_functions(), &LimitFunctions::fp32);
  const std::int64_t pieces = 8 * std::int64_t{pool.size()};
  double best = 0;
  for (const Stopwatch whole; whole.elapsed().wall < 0.1;) {
    const Stopwatch pass;
    pool.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) use(timed.loop.run(timed.rounds));
    });
    best = std::max(best, static_cast<double>(pieces) * timed.operations() / pass.elapsed().cpu);
  }
  return best * pool.size();
}

LimitMeter::LimitMeter(ThreadPool& pool, const LimitOptions& options)
    : state_(std::make_unique<State>(pool, options)) {}

LimitMeter::~LimitMeter() = default;

MachineLimits LimitMeter::best() {
  State& s = *state_;
  MachineLimits limits;
  limits.read_with = s.reader->name;
  limits.fp32_with = s.loops[0].loop.name;
  limits.int8_with = s.loops[1].loop.name;
  if (s.loops[2].loop.run != nullptr) limits.bf16_with = s.loops[2].loop.name;
  limits.buffer_bytes = static_cast<std::uint64_t>(s.buffer.pieces() * kReadPiece);
  limits.cache_bytes = last_level_cache_bytes();
  limits.one = s.best_rates(s.single);
  limits.all = s.pool.size() > 1 ? s.best_rates(s.pool) : limits.one;
  // More threads do no less: where it looks so, others held the cores.
  for (const auto rate : kRates) {
    double& several = (limits.all.*rate).per_second;
    several = std::max(several, (limits.one.*rate).per_second);
  }
  return limits;
}

void LimitMeter::sample() {
  constexpr double kInterval = 0.25, kShare = 0.25;
  State& s = *state_;
  if (!s.samples.empty() && s.since_sample.elapsed().wall < kInterval) return;
  Rates& rates = s.samples.emplace_back();
  for (std::size_t kind = 0; kind < rates.size(); ++kind)
    rates[kind] = s.pass(kind, s.pool, kShare);
  s.since_sample = Stopwatch();
}

std::optional<ThreadLimits> LimitMeter::meanwhile() const {
  constexpr std::size_t kFewest = 3;
  const State& s = *state_;
  if (s.samples.size() < kFewest) return std::nullopt;
  ThreadLimits limits{.threads = s.pool.size()};
  for (std::size_t kind = 0; kind < std::size(kRates); ++kind)
    limits.*kRates[kind] = {s.median_of_samples(kind, &Rate::per_second),
                            s.median_of_samples(kind, &Rate::per_core_second)};
  return limits;
}

}  // namespace talpa
