#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/base/random.h"

namespace talpa::convert {

/// The cluster of every point where each of N clusters takes as many of the P points and the sum
/// of costs is least. `cost_PN` is fp64. Points join one by one over the cheapest path of moves
/// between clusters (successive shortest paths of the transport problem), about P (P + N^2) steps.
/// Throws kShape if N does not divide P or a cost is not finite.
std::vector<std::int64_t> balanced_assignment(const at::Tensor& cost_PN);

struct Clusters {
  std::vector<std::int64_t> cluster_P;
  /// Share of the points' squared distances from their mean that the clusters' means explain.
  double explained = 0;
};

/// Squared Euclidean k-means with clusters of equal size (constrained k-means, Bradley et al.,
/// 2000; with balanced_assignment): k-means++ centres, then assignments and means in turn until
/// nothing changes or `max_rounds`. Clusters are numbered by their first point.
Clusters balanced_kmeans(const at::Tensor& points_PD, int num_clusters, Random random,
                         int max_rounds = 50);

/// `explained` of a given clustering; 1 for points that are all alike.
double explained_share(const at::Tensor& points_PD, const std::vector<std::int64_t>& cluster_P,
                       int num_clusters);

}  // namespace talpa::convert
