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
}

double learning_rate_at(const ScheduleConfig& config, std::int64_t step, std::int64_t total) {
  if (step < config.warmup_steps)
    return config.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(config.warmup_steps);
  if (config.kind == Schedule::kConstant) return config.learning_rate;
  const double length = static_cast<double>(std::max<std::int64_t>(1, total - config.warmup_steps));
  const double t = std::clamp(static_cast<double>(step - config.warmup_steps) / length, 0.0, 1.0);
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * t));
  return config.learning_rate * (config.min_ratio + (1 - config.min_ratio) * share);
}

}  // namespace talpa::train
