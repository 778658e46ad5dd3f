// P points, N clusters, D width.
#include "talpa/convert/balanced_kmeans.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

#include "scratch.h"

namespace talpa::convert {
namespace {

at::Tensor random_costs(std::int64_t points, std::int64_t clusters, std::uint64_t seed) {
  torch::manual_seed(seed);
  return torch::randn({points, clusters}, torch::kDouble);
}

double total_cost(const at::Tensor& cost_PN, const std::vector<std::int64_t>& cluster_P) {
  double sum = 0;
  for (std::size_t p = 0; p < cluster_P.size(); ++p)
    sum += cost_PN[static_cast<std::int64_t>(p)][cluster_P[p]].item<double>();
  return sum;
}

/// Every assignment with equal sizes, tried.
double least_cost(const at::Tensor& cost_PN) {
  std::vector<std::int64_t> cluster_P;
  for (std::int64_t p = 0; p < cost_PN.size(0); ++p)
    cluster_P.push_back(p / (cost_PN.size(0) / cost_PN.size(1)));
  double least = std::numeric_limits<double>::infinity();
  do least = std::min(least, total_cost(cost_PN, cluster_P));
  while (std::next_permutation(cluster_P.begin(), cluster_P.end()));
  return least;
}

void expect_balanced(const std::vector<std::int64_t>& cluster_P, std::int64_t num_clusters) {
  std::vector<std::int64_t> size(static_cast<std::size_t>(num_clusters));
  for (const std::int64_t cluster : cluster_P) ++size.at(static_cast<std::size_t>(cluster));
  for (const std::int64_t s : size)
    EXPECT_EQ(s * num_clusters, static_cast<std::int64_t>(cluster_P.size()));
}

TEST(BalancedAssignment, IsTheCheapestOfAll) {
  for (const auto& [points, clusters] : {std::pair{8, 2}, {8, 4}, {6, 6}, {9, 3}, {5, 1}})
    for (int seed = 0; seed < 20; ++seed) {
      at::Tensor cost_PN = random_costs(points, clusters, static_cast<std::uint64_t>(seed));
      // Every other case has ties and a cluster that all prefer.
      if (seed % 2 == 1) {
        cost_PN = cost_PN.round();
        cost_PN.select(1, 0).sub_(5);
      }
      const auto cluster_P = balanced_assignment(cost_PN);
      expect_balanced(cluster_P, clusters);
      EXPECT_NEAR(total_cost(cost_PN, cluster_P), least_cost(cost_PN), 1e-9)
          << points << " points, " << clusters << " clusters, seed " << seed;
    }
}

TEST(BalancedAssignment, NoSwapOfTwoPointsIsCheaper) {
  const at::Tensor cost_PN = random_costs(96, 8, 3);
  const auto cluster_P = balanced_assignment(cost_PN);
  expect_balanced(cluster_P, 8);
  const auto cost = cost_PN.accessor<double, 2>();
  for (std::size_t p = 0; p < 96; ++p)
    for (std::size_t q = 0; q < p; ++q)
      EXPECT_LE(cost[p][cluster_P[p]] + cost[q][cluster_P[q]],
                cost[p][cluster_P[q]] + cost[q][cluster_P[p]] + 1e-9);
}

TEST(BalancedAssignment, RefusesWhatCannotBe) {
  EXPECT_TALPA_ERROR(balanced_assignment(random_costs(7, 2, 1)), kShape, "7 points");
  at::Tensor cost_PN = random_costs(4, 2, 1);
  cost_PN[1][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TALPA_ERROR(balanced_assignment(cost_PN), kShape, "not finite");
}

TEST(BalancedKMeans, FindsPlantedClusters) {
  torch::manual_seed(4);
  const at::Tensor centres_ND = torch::randn({6, 16});
  const at::Tensor planted_P = torch::randperm(60).remainder(6);
  const at::Tensor points_PD =
      centres_ND.index_select(0, planted_P) + 0.02 * torch::randn({60, 16});
  const Clusters clusters = balanced_kmeans(points_PD, 6, Random(1, "test"));
  expect_balanced(clusters.cluster_P, 6);
  const auto planted = planted_P.accessor<std::int64_t, 1>();
  for (std::int64_t p = 0; p < 60; ++p)
    for (std::int64_t q = 0; q < 60; ++q)
      EXPECT_EQ(planted[p] == planted[q], clusters.cluster_P[p] == clusters.cluster_P[q]);
  EXPECT_EQ(clusters.cluster_P[0], 0);
  EXPECT_GT(clusters.explained, 0.99);
  EXPECT_EQ(balanced_kmeans(points_PD, 6, Random(1, "test")).cluster_P, clusters.cluster_P);
}

TEST(BalancedKMeans, ExplainsMoreThanNeighbours) {
  torch::manual_seed(5);
  const at::Tensor points_PD = torch::randn({64, 8});
  std::vector<std::int64_t> neighbours;
  for (std::int64_t p = 0; p < 64; ++p) neighbours.push_back(p / 16);
  const Clusters clusters = balanced_kmeans(points_PD, 4, Random(2, "test"));
  EXPECT_NEAR(clusters.explained, explained_share(points_PD, clusters.cluster_P, 4), 1e-12);
  EXPECT_GT(clusters.explained, explained_share(points_PD, neighbours, 4) + 0.1);
}

TEST(BalancedKMeans, PointsThatAreAllAlike) {
  const Clusters clusters = balanced_kmeans(torch::ones({12, 3}), 4, Random(1, "test"));
  expect_balanced(clusters.cluster_P, 4);
  EXPECT_EQ(clusters.explained, 1);
}

}  // namespace
}  // namespace talpa::convert
