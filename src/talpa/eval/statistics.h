#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace talpa {

/// Mean over tokens with a standard error that allows tokens of one window or document to be
/// alike: the ratio estimator over clusters,
///   mean = sum_c S_c / sum_c n_c,
///   error^2 = C/(C-1) sum_c (S_c - mean n_c)^2 / (sum_c n_c)^2.
class ClusterMean {
 public:
  void add(std::size_t cluster, double sum, std::int64_t count);
  std::int64_t count() const { return count_; }
  double mean() const;
  /// NaN with fewer than two clusters.
  double error() const;

 private:
  struct Sum {
    double sum = 0;
    std::int64_t count = 0;
  };
  std::map<std::size_t, Sum> clusters_;
  double sum_ = 0;
  std::int64_t count_ = 0;
};

/// The value below which `share` of `values` lie; reorders them. 0 if there are none.
double quantile(std::vector<float>& values, double share);
/// The middle value; 0 if there are none.
double median(std::vector<double> values);

/// log(sum(exp(logits))).
double log_sum_exp(std::span<const float> logits);

}  // namespace talpa
