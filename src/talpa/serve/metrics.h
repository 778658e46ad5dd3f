#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>

#include "talpa/engine/scheduler.h"

namespace talpa::serve {

/// A histogram of seconds in Prometheus' sense.
class Histogram {
 public:
  void add(double seconds);
  /// Lines of its exposition.
  std::string text(const std::string& name, const std::string& help) const;

 private:
  static constexpr std::array kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                         0.5,   1.0,    2.5,   5.0,  10.0,  25.0, 60.0};
  std::array<std::uint64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0;
};

/// What the server counted since it started. Safe from several threads.
class Metrics {
 public:
  void add_request(const std::string& path, int status);
  void add_completion(const CompletionUsage& usage);
  /// Prometheus' text format, with the scheduler's state and counts.
  std::string text(const SchedulerStats& stats) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
  Histogram queue_, first_token_, token_, whole_;
};

}  // namespace talpa::serve
