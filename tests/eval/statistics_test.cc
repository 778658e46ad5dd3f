#include "talpa/eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "talpa/base/random.h"

namespace talpa {
namespace {

TEST(ClusterMean, EqualsTheTextbookErrorOfEqualClusters) {
  ClusterMean mean;
  const double values[] = {1, 2, 4, 9};
  for (std::size_t i = 0; i < 4; ++i) mean.add(i, values[i], 1);
  EXPECT_DOUBLE_EQ(mean.mean(), 4);
  // sqrt(sum (x - 4)^2 / (n (n - 1)))
  EXPECT_DOUBLE_EQ(mean.error(), std::sqrt((9 + 4 + 0 + 25) / 12.0));
}

TEST(ClusterMean, WeighsClustersByTheirTokens) {
  ClusterMean mean;
  mean.add(0, 10, 10);
  mean.add(1, 60, 30);
  mean.add(0, 10, 10);
  EXPECT_EQ(mean.count(), 50);
  EXPECT_DOUBLE_EQ(mean.mean(), 1.6);
  EXPECT_DOUBLE_EQ(mean.error(), std::sqrt(2.0 * (144 + 144)) / 50);
}

TEST(ClusterMean, HasNoErrorOfOneCluster) {
  ClusterMean mean;
  mean.add(3, 5, 2);
  EXPECT_TRUE(std::isnan(mean.error()));
  EXPECT_EQ(ClusterMean().mean(), 0);
}

TEST(ClusterMean, CoversTheTruthAboutAsOftenAsItSays) {
  constexpr int kRuns = 400;
  int covered = 0;
  for (int run = 0; run < kRuns; ++run) {
    Random random(static_cast<std::uint64_t>(run), "clusters");
    ClusterMean mean;
    for (std::size_t c = 0; c < 60; ++c) {
      const double shared = random.normal();
      for (int i = 0; i < 20; ++i) mean.add(c, shared + random.normal(), 1);
    }
    covered += std::abs(mean.mean()) < 1.96 * mean.error();
  }
  EXPECT_NEAR(covered / double(kRuns), 0.95, 0.04);
}

TEST(Quantile, TakesTheRank) {
  std::vector<float> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(quantile(values, 0), 1);
  EXPECT_EQ(quantile(values, 0.5), 3);
  EXPECT_EQ(quantile(values, 0.99), 5);
  std::vector<float> none;
  EXPECT_EQ(quantile(none, 0.5), 0);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

TEST(LogSumExp, SurvivesLargeLogits) {
  const float large[] = {1000, 1000};
  EXPECT_NEAR(log_sum_exp(large), 1000 + std::log(2), 1e-9);
  const float small[] = {-2000, -3000};
  EXPECT_NEAR(log_sum_exp(small), -2000, 1e-9);
}

}  // namespace
}  // namespace talpa
