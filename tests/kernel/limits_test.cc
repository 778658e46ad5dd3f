#include "talpa/kernel/limits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <numeric>
#include <thread>
#include <vector>

#include "talpa/base/random.h"
#include "talpa/base/stopwatch.h"
#include "talpa/kernel/buffer.h"
#include "talpa/kernel/limit_sets.h"

namespace talpa {
namespace {

TEST(Limits, ReadersReadEveryByte) {
  constexpr std::size_t kWords = 4 * kernel::kReadStep / 8;
  Buffer<std::uint64_t> words(kWords);
  Random random(1);
  for (std::size_t i = 0; i < kWords; ++i) words.data()[i] = random.next();
  const std::uint64_t sum = std::accumulate(words.data(), words.data() + kWords, std::uint64_t{0});
  for (const auto& set : kernel::limit_functions()) {
    if (set.read == nullptr) continue;
    EXPECT_EQ(set.read(reinterpret_cast<const std::byte*>(words.data()), kWords * 8), sum)
        << set.name;
  }
}

/// The compiler must not have left work out of a loop: ten times the rounds take longer, and no
/// core does more than 16,384 operations a nanosecond.
TEST(Limits, LoopsDoTheirWork) {
  for (const auto& set : kernel::limit_functions())
    for (const auto* loop : {&set.fp32, &set.int8, &set.bf16}) {
      if (loop->run == nullptr) continue;
      auto seconds = [&](std::int64_t rounds) {
        const Stopwatch watch;
        EXPECT_TRUE(std::isfinite(loop->run(rounds))) << loop->name;
        return watch.elapsed().cpu;
      };
      constexpr std::int64_t kRounds = 20000;
      const double few = seconds(kRounds), many = seconds(10 * kRounds);
      EXPECT_GT(many, 3 * few) << loop->name;
      EXPECT_LT(static_cast<double>(10 * kRounds * loop->operations) / many, 16384e9) << loop->name;
    }
}

TEST(Limits, AreMeasured) {
  ThreadPool pool(2);
  LimitMeter meter(pool, {.seconds = 0.002, .free_memory = std::uint64_t{256} << 20});
  EXPECT_FALSE(meter.meanwhile());
  const MachineLimits limits = meter.best();
  EXPECT_EQ(limits.one.threads, 1);
  EXPECT_EQ(limits.all.threads, 2);
  EXPECT_EQ(limits.buffer_bytes, std::uint64_t{64} << 20);
  for (const ThreadLimits& threads : {limits.one, limits.all})
    for (const Rate& rate : {threads.dram_read, threads.fp32, threads.int8}) {
      EXPECT_GT(rate.per_second, 1e6);
      EXPECT_GT(rate.per_core_second, 1e6);
    }
  EXPECT_EQ(limits.bf16_with.empty(), limits.one.bf16.per_second == 0);
  // Two threads are on at most two cores.
  EXPECT_LT(limits.all.fp32.per_second, 3 * limits.all.fp32.per_core_second);
}

TEST(Limits, AreSampledNowAndThen) {
  ThreadPool pool(2);
  LimitMeter meter(pool, {.free_memory = std::uint64_t{256} << 20});
  for (int i = 0; i < 2; ++i) {
    meter.sample();
    meter.sample();  // too early: takes none
    std::this_thread::sleep_for(std::chrono::milliseconds(260));
  }
  EXPECT_FALSE(meter.meanwhile());
  meter.sample();
  ASSERT_TRUE(meter.meanwhile());
  EXPECT_EQ(meter.meanwhile()->threads, 2);
  EXPECT_GT(meter.meanwhile()->dram_read.per_core_second, 1e6);
  EXPECT_GT(meter.meanwhile()->int8.per_second, 1e6);
}

}  // namespace
}  // namespace talpa
