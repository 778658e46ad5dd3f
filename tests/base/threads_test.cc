#include "talpa/base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace talpa {
namespace {

class Pool : public ::testing::TestWithParam<int> {};

TEST_P(Pool, VisitsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const std::int64_t count : {0, 1, 7, 1000}) {
    for (const std::int64_t grain : {0, 1, 3, 5000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
        EXPECT_LT(begin, end);
        EXPECT_LE(end - begin, std::max<std::int64_t>(grain, 1));
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      for (const auto& visited : visits) ASSERT_EQ(visited, 1) << count << " " << grain;
    }
  }
}

TEST_P(Pool, RethrowsAndGoesOn) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(pool.parallel_for(100, 1,
                                   [](std::int64_t begin, std::int64_t) {
                                     if (begin == 37) throw std::runtime_error("37");
                                   }),
                 std::runtime_error);
    std::atomic<int> sum = 0;
    pool.parallel_for(10, 1, [&](std::int64_t begin, std::int64_t) { sum += int(begin); });
    ASSERT_EQ(sum, 45);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Pool, ::testing::Values(1, 2, 4));

TEST(ThreadPool, HasAtLeastOneThread) { EXPECT_EQ(ThreadPool(0).size(), 1); }
TEST(AvailableCores, IsPositive) { EXPECT_GE(available_cores(), 1); }

}  // namespace
}  // namespace talpa
