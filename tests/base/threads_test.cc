#include "talpa/base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "scratch.h"

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

/// Pieces are not dealt out beforehand: while one thread is stuck in the first, the others do the
/// rest, and it goes on only when they have.
TEST(ThreadPool, ABusyThreadKeepsNoPieces) {
  ThreadPool pool(2);
  std::atomic<int> done = 0;
  pool.parallel_for(64, 1, [&](std::int64_t begin, std::int64_t) {
    if (begin == 0)
      while (done < 63) std::this_thread::yield();
    else
      ++done;
  });
  EXPECT_EQ(done, 63);
}

TEST(PinnedPool, RunsEveryThreadOnItsProcessor) {
  const std::vector<int> allowed = available_processors().allowed;
  const std::vector<int> before = processors_of(pthread_self());
  const int size = static_cast<int>(allowed.size());
  {
    ThreadPool pool = make_thread_pool(size, true);
    EXPECT_EQ(processors_of(pthread_self()), std::vector<int>{allowed[0]});
    std::mutex mutex;
    std::map<std::thread::id, std::vector<int>> seen;
    std::atomic<int> inside = 0;
    pool.parallel_for(size, 1, [&](std::int64_t, std::int64_t) {
      ++inside;
      while (inside < size) std::this_thread::yield();  // so that each thread takes one piece
      const std::lock_guard lock(mutex);
      seen[std::this_thread::get_id()] = processors_of(pthread_self());
    });
    std::set<int> processors;
    for (const auto& [id, own] : seen) {
      ASSERT_EQ(own.size(), 1u);
      processors.insert(own[0]);
    }
    EXPECT_EQ(processors, std::set<int>(allowed.begin(), allowed.end()));
  }
  EXPECT_EQ(processors_of(pthread_self()), before);
}

TEST(PinnedPool, NeedsAProcessorForEachThread) {
  const int size = static_cast<int>(available_processors().allowed.size());
  EXPECT_TALPA_ERROR(make_thread_pool(size + 1, true), kUsage, "cannot be pinned");
  const std::vector<int> before = processors_of(pthread_self());
  const std::vector<int> none = {before[0], 60000};
  EXPECT_TALPA_ERROR(ThreadPool(2, none), kUnsupported, "60000");
  EXPECT_EQ(processors_of(pthread_self()), before);
}

}  // namespace
}  // namespace talpa
