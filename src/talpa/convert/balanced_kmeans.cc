// P points, N clusters, D width.
#include "talpa/convert/balanced_kmeans.h"

#include <torch/types.h>

#include <algorithm>
#include <limits>

#include "talpa/base/error.h"

namespace talpa::convert {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Points in clusters, and what it costs to move one from a cluster to another.
class Transport {
 public:
  Transport(const double* cost_PN, std::int64_t num_points, std::int64_t num_clusters)
      : cost_(cost_PN),
        n_(num_clusters),
        capacity_(num_points / num_clusters),
        cluster_(static_cast<std::size_t>(num_points), -1),
        members_(static_cast<std::size_t>(num_clusters)),
        moves_(static_cast<std::size_t>(num_clusters * num_clusters)),
        distance_(static_cast<std::size_t>(num_clusters)),
        before_(static_cast<std::size_t>(num_clusters)) {
    double largest = 0;
    for (std::int64_t i = 0; i < num_points * n_; ++i)
      largest = std::max(largest, std::abs(cost_PN[i]));
    tolerance_ = largest * 1e-12;
  }

  /// Lets a point in where that is cheapest, moving others out of its way.
  void add(std::int64_t point) {
    find_paths(point);
    std::int64_t end = -1;
    for (std::int64_t j = 0; j < n_; ++j)
      if (size(j) < capacity_ && (end < 0 || distance_[j] < distance_[end])) end = j;
    while (before_[end] >= 0) {
      const std::int64_t from = before_[end];
      move(moves_[from * n_ + end].point, from, end);
      end = from;
    }
    insert(point, end);
  }

  std::vector<std::int64_t> take() && { return std::move(cluster_); }

 private:
  struct Move {
    double cost = kInfinity;
    std::int64_t point = -1;
  };

  std::int64_t size(std::int64_t j) const { return static_cast<std::int64_t>(members_[j].size()); }
  double cost(std::int64_t point, std::int64_t j) const { return cost_[point * n_ + j]; }

  /// Bellman-Ford: moves may have negative costs, cycles of moves have none.
  void find_paths(std::int64_t point) {
    for (std::int64_t j = 0; j < n_; ++j) {
      distance_[j] = cost(point, j);
      before_[j] = -1;
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (std::int64_t i = 0; i < n_; ++i)
        for (std::int64_t j = 0; j < n_; ++j) {
          const double through = distance_[i] + moves_[i * n_ + j].cost;
          if (i == j || !(through < distance_[j] - tolerance_)) continue;
          distance_[j] = through;
          before_[j] = i;
          changed = true;
        }
    }
  }

  void offer(std::int64_t point, std::int64_t from) {
    for (std::int64_t j = 0; j < n_; ++j) {
      Move& best = moves_[from * n_ + j];
      const double difference = cost(point, j) - cost(point, from);
      if (difference < best.cost) best = {difference, point};
    }
  }

  void insert(std::int64_t point, std::int64_t to) {
    cluster_[point] = to;
    members_[to].push_back(point);
    offer(point, to);
  }

  void move(std::int64_t point, std::int64_t from, std::int64_t to) {
    std::erase(members_[from], point);
    std::fill_n(moves_.begin() + from * n_, n_, Move{});
    for (const std::int64_t other : members_[from]) offer(other, from);
    insert(point, to);
  }

  const double* cost_;
  std::int64_t n_, capacity_;
  double tolerance_ = 0;  ///< keeps rounding from making cycles
  std::vector<std::int64_t> cluster_;
  std::vector<std::vector<std::int64_t>> members_;
  std::vector<Move> moves_;  ///< [N, N] the cheapest from one cluster to another
  std::vector<double> distance_;
  std::vector<std::int64_t> before_;
};

at::Tensor squared_distances(const at::Tensor& points_PD, const at::Tensor& centres_ND) {
  return points_PD.square().sum(1, true) - 2 * points_PD.matmul(centres_ND.t()) +
         centres_ND.square().sum(1);
}

/// k-means++ (Arthur and Vassilvitskii, 2007): every next centre with a probability proportional
/// to its squared distance from those before it.
at::Tensor first_centres(const at::Tensor& points_PD, int num_clusters, Random& random) {
  const std::int64_t num_points = points_PD.size(0);
  std::vector<at::Tensor> centres{
      points_PD[static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(num_points)))]};
  at::Tensor nearest_P = (points_PD - centres[0]).square().sum(1);
  while (static_cast<int>(centres.size()) < num_clusters) {
    const at::Tensor sums_P = nearest_P.cumsum(0);
    const double* sums = sums_P.const_data_ptr<double>();
    const double* found =
        std::upper_bound(sums, sums + num_points, random.uniform() * sums[num_points - 1]);
    const std::int64_t chosen = std::min<std::int64_t>(found - sums, num_points - 1);
    centres.push_back(points_PD[chosen]);
    nearest_P = nearest_P.minimum((points_PD - centres.back()).square().sum(1));
  }
  return torch::stack(centres);
}

at::Tensor indices_of(const std::vector<std::int64_t>& cluster_P) {
  return torch::tensor(cluster_P, torch::kLong);
}

at::Tensor means(const at::Tensor& points_PD, const std::vector<std::int64_t>& cluster_P,
                 int num_clusters) {
  const at::Tensor sums_ND = torch::zeros({num_clusters, points_PD.size(1)}, points_PD.options())
                                 .index_add(0, indices_of(cluster_P), points_PD);
  const at::Tensor counts_N = torch::bincount(indices_of(cluster_P), {}, num_clusters);
  return sums_ND / counts_N.clamp_min(1).unsqueeze(1);
}

void number_by_first_point(std::vector<std::int64_t>& cluster_P, int num_clusters) {
  std::vector<std::int64_t> number(static_cast<std::size_t>(num_clusters), -1);
  std::int64_t next = 0;
  for (std::int64_t& cluster : cluster_P) {
    if (number[cluster] < 0) number[cluster] = next++;
    cluster = number[cluster];
  }
}

}  // namespace

std::vector<std::int64_t> balanced_assignment(const at::Tensor& cost_PN) {
  const std::int64_t num_points = cost_PN.size(0), num_clusters = cost_PN.size(1);
  if (num_clusters < 1 || num_points % num_clusters != 0)
    fail(ErrorCode::kShape, "{} points do not make {} clusters of equal size", num_points,
         num_clusters);
  const at::Tensor cost = cost_PN.contiguous();
  if (!cost.isfinite().all().item<bool>())
    fail(ErrorCode::kShape, "balanced_assignment: a cost is not finite");
  Transport transport(cost.const_data_ptr<double>(), num_points, num_clusters);
  for (std::int64_t point = 0; point < num_points; ++point) transport.add(point);
  return std::move(transport).take();
}

double explained_share(const at::Tensor& points_PD, const std::vector<std::int64_t>& cluster_P,
                       int num_clusters) {
  const at::Tensor points = points_PD.to(torch::kDouble);
  const at::Tensor centres_ND = means(points, cluster_P, num_clusters);
  const double total = (points - points.mean(0)).square().sum().item<double>();
  const double within =
      (points - centres_ND.index_select(0, indices_of(cluster_P))).square().sum().item<double>();
  return total > 0 ? 1 - within / total : 1;
}

Clusters balanced_kmeans(const at::Tensor& points_PD, int num_clusters, Random random,
                         int max_rounds) {
  const at::Tensor points = points_PD.to(torch::kDouble).contiguous();
  at::Tensor centres_ND = first_centres(points, num_clusters, random);
  Clusters clusters;
  for (int round = 0; round < max_rounds; ++round) {
    auto assigned = balanced_assignment(squared_distances(points, centres_ND));
    const bool settled = assigned == clusters.cluster_P;
    clusters.cluster_P = std::move(assigned);
    if (settled) break;
    centres_ND = means(points, clusters.cluster_P, num_clusters);
  }
  number_by_first_point(clusters.cluster_P, num_clusters);
  clusters.explained = explained_share(points, clusters.cluster_P, num_clusters);
  return clusters;
}

}  // namespace talpa::convert
