#pragma once

#include <cstdint>

#include "talpa/base/config.h"

namespace talpa::train {

enum class Schedule : std::uint8_t { kCosine, kConstant, kLinear, kWsd };

/// Learning rate over a run: linear warm-up from zero, then decay to `min_ratio * learning_rate`
/// at the last step, as a cosine or a line, or constant. WSD (warm-up, stable, decay) is constant
/// until `decay_share` of all steps are left and then falls as 1 - sqrt (Haegele et al.,
/// arXiv 2405.18392).
struct ScheduleConfig {
  Schedule kind = Schedule::kCosine;
  double learning_rate = 1e-3;
  std::int64_t warmup_steps = 100;
  double min_ratio = 0.1;
  double decay_share = 0.2;

  static constexpr auto fields() {
    using C = ScheduleConfig;
    return std::tuple{field("kind", &C::kind, "cosine, linear, wsd or constant"),
                      field("learning_rate", &C::learning_rate, "peak learning rate"),
                      field("warmup_steps", &C::warmup_steps, "steps of linear warm-up"),
                      field("min_ratio", &C::min_ratio, "last learning rate relative to the peak"),
                      field("decay_share", &C::decay_share, "share of steps that decay (wsd)")};
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
      {talpa::train::Schedule::kCosine, "cosine"},
      {talpa::train::Schedule::kConstant, "constant"},
      {talpa::train::Schedule::kLinear, "linear"},
      {talpa::train::Schedule::kWsd, "wsd"}};
};
