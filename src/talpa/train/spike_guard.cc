#include "talpa/train/spike_guard.h"

#include <algorithm>
#include <cmath>

#include "talpa/base/log.h"

namespace talpa::train {

namespace {
/// Of the mean: what is nearly constant has no spikes within this.
constexpr double kLeastDeviation = 0.02;
}  // namespace

void SpikeGuardConfig::validate(const std::string& path) const {
  if (!(deviations >= 0))
    fail(ErrorCode::kConfig, "{}.deviations = {} is negative", path, deviations);
  if (window < 2) fail(ErrorCode::kConfig, "{}.window = {} is below 2", path, window);
  if (max_in_a_row < 1)
    fail(ErrorCode::kConfig, "{}.max_in_a_row = {} is below 1", path, max_in_a_row);
}

void SpikeGuard::Running::add(double value, double weight) {
  const double difference = value - mean;
  mean += weight * difference;
  variance = (1 - weight) * (variance + weight * difference * difference);
}

bool SpikeGuard::Running::is_far_above(double value, double deviations) const {
  const double deviation = std::max(std::sqrt(variance), kLeastDeviation * std::abs(mean));
  return value > mean + deviations * deviation;
}

bool SpikeGuard::accept(std::int64_t step, double loss, double gradient_norm) {
  if (config_.deviations == 0) return true;
  const bool finite = std::isfinite(loss) && std::isfinite(gradient_norm);
  const bool known = num_accepted_ >= config_.window / 2;
  const bool far = known && (loss_.is_far_above(loss, config_.deviations) ||
                             norm_.is_far_above(gradient_norm, config_.deviations));
  if (finite && !far) {
    ++num_accepted_;
    in_a_row_ = 0;
    const double weight =
        1 / static_cast<double>(std::min<std::int64_t>(num_accepted_, config_.window));
    loss_.add(loss, weight);
    norm_.add(gradient_norm, weight);
    return true;
  }
  ++num_skipped_;
  if (++in_a_row_ > config_.max_in_a_row)
    fail(ErrorCode::kConfig,
         "step {}: {} steps in a row were skipped for their loss or gradient norm (now {} and "
         "{}); lower trainer.schedule.learning_rate, or raise trainer.spike_guard.deviations",
         step + 1, in_a_row_, loss, gradient_norm);
  log::warn("step {} skipped: loss {:.4f} (lately {:.4f}), gradient norm {:.2f} (lately {:.2f})",
            step + 1, loss, loss_.mean, gradient_norm, norm_.mean);
  return false;
}

Json SpikeGuard::state() const {
  return {{"loss", {loss_.mean, loss_.variance}},
          {"gradient_norm", {norm_.mean, norm_.variance}},
          {"accepted", num_accepted_},
          {"skipped", num_skipped_},
          {"in_a_row", in_a_row_}};
}

void SpikeGuard::load(const Json& state, const std::string& source) {
  try {
    loss_ = {state.at("loss").at(0), state.at("loss").at(1)};
    norm_ = {state.at("gradient_norm").at(0), state.at("gradient_norm").at(1)};
    num_accepted_ = state.at("accepted");
    num_skipped_ = state.at("skipped");
    in_a_row_ = state.at("in_a_row");
  } catch (const Json::exception& error) {
    fail(ErrorCode::kFormat, "{}: spike_guard: {}", source, error.what());
  }
}

}  // namespace talpa::train
