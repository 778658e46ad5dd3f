#include "talpa/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace talpa {

void ClusterMean::add(std::size_t cluster, double sum, std::int64_t count) {
  Sum& entry = clusters_[cluster];
  entry.sum += sum;
  entry.count += count;
  sum_ += sum;
  count_ += count;
}

double ClusterMean::mean() const { return count_ > 0 ? sum_ / static_cast<double>(count_) : 0; }

double ClusterMean::error() const {
  if (clusters_.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  const double mean = this->mean();
  double squares = 0;
  for (const auto& [id, entry] : clusters_) {
    const double deviation = entry.sum - mean * static_cast<double>(entry.count);
    squares += deviation * deviation;
  }
  const auto n = static_cast<double>(clusters_.size());
  return std::sqrt(n / (n - 1) * squares) / static_cast<double>(count_);
}

double quantile(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::min(rank, values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double log_sum_exp(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

}  // namespace talpa
