#include "talpa/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace talpa::train {

void ScheduleConfig::validate(const std::string& path) const {
  if (!(learning_rate > 0 && learning_rate < 10))
    fail(ErrorCode::kConfig, "{}.learning_rate = {} is not in (0, 10)", path, learning_rate);
  if (warmup_steps < 0)
    fail(ErrorCode::kConfig, "{}.warmup_steps = {} is negative", path, warmup_steps);
  if (!(min_ratio >= 0 && min_ratio <= 1))
    fail(ErrorCode::kConfig, "{}.min_ratio = {} is not in [0, 1]", path, min_ratio);
  if (!(decay_share > 0 && decay_share <= 1))
    fail(ErrorCode::kConfig, "{}.decay_share = {} is not in (0, 1]", path, decay_share);
}

namespace {

/// From 1 at the end of the warm-up to 0 at the last step.
double share_left(const ScheduleConfig& config, std::int64_t step, std::int64_t total) {
  const auto part = [step](double first, double last) {
    return std::clamp((static_cast<double>(step) - first) / std::max(1.0, last - first), 0.0, 1.0);
  };
  const double warm = static_cast<double>(config.warmup_steps), end = static_cast<double>(total);
  switch (config.kind) {
    case Schedule::kCosine:
      return 0.5 * (1 + std::cos(std::numbers::pi * part(warm, end)));
    case Schedule::kLinear:
      return 1 - part(warm, end);
    case Schedule::kWsd:
      return 1 - std::sqrt(part(std::max(warm, end - config.decay_share * end), end));
    case Schedule::kConstant:
      break;
  }
  return 1;
}

}  // namespace

double learning_rate_at(const ScheduleConfig& config, std::int64_t step, std::int64_t total) {
  if (step < config.warmup_steps)
    return config.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(config.warmup_steps);
  const double share = share_left(config, step, total);
  return config.learning_rate * (config.min_ratio + (1 - config.min_ratio) * share);
}

}  // namespace talpa::train
