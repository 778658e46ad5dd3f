#pragma once

#include <cstdint>

#include "talpa/base/config.h"

namespace talpa::train {

enum class Schedule : std::uint8_t { kCosine, kConstant };

/// Learning rate over a run: linear warm-up from zero, then cosine decay to
/// `min_ratio * learning_rate` at the last step, or constant.
struct ScheduleConfig {
  Schedule kind = Schedule::kCosine;
  double learning_rate = 1e-3;
  std::int64_t warmup_steps = 100;
  double min_ratio = 0.1;

  static constexpr auto fields() {
    using C = ScheduleConfig;
    return std::tuple{field("kind", &C::kind, "cosine or constant"),
                      field("learning_rate", &C::learning_rate, "peak learning rate"),
                      field("warmup_steps", &C::warmup_steps, "steps of linear warm-up"),
                      field("min_ratio", &C::min_ratio, "last learning rate relative to the peak")};
  }
  void validate(const std::string& path) const;
  bool operator==(const ScheduleConfig&) const = default;
};

/// Learning rate of step `step` (from 0) of `total` steps.
double learning_rate_at(const ScheduleConfig& config, std::int64_t step, std::int64_t total);

}  // namespace talpa::train

template <>
struct talpa::EnumNames<talpa::train::Schedule> {
  static constexpr std::pair<talpa::train::Schedule, const char*> table[] = {
      {talpa::train::Schedule::kCosine, "cosine"}, {talpa::train::Schedule::kConstant, "constant"}};
};
