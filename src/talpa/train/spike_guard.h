#pragma once

#include "talpa/base/config.h"

namespace talpa::train {

struct SpikeGuardConfig {
  double deviations = 0;
  int window = 100;
  int max_in_a_row = 5;

  static constexpr auto fields() {
    using C = SpikeGuardConfig;
    return std::tuple{
        field("deviations", &C::deviations,
              "a step whose loss or gradient norm lies this many standard deviations above its "
              "running mean, or is not finite, is skipped; 0 = none is"),
        field("window", &C::window, "steps of the running mean and deviation"),
        field("max_in_a_row", &C::max_in_a_row, "more skipped steps in a row end the run")};
  }
  void validate(const std::string& path) const;
  bool operator==(const SpikeGuardConfig&) const = default;
};

/// Decides which steps are skipped: whose loss or gradient norm is far above what it was lately.
/// Statistics are of accepted steps; none is skipped for its size before `window / 2` of them.
class SpikeGuard {
 public:
  explicit SpikeGuard(const SpikeGuardConfig& config) : config_(config) {}

  /// False for a step to be skipped, which is then counted. Throws kConfig after max_in_a_row.
  bool accept(std::int64_t step, double loss, double gradient_norm);
  std::int64_t num_skipped() const { return num_skipped_; }

  /// Everything that decides the next answers, for a checkpoint.
  Json state() const;
  /// Throws kFormat naming `source`.
  void load(const Json& state, const std::string& source);

 private:
  struct Running {
    double mean = 0, variance = 0;
    void add(double value, double weight);
    bool is_far_above(double value, double deviations) const;
  };

  SpikeGuardConfig config_;
  Running loss_, norm_;
  std::int64_t num_accepted_ = 0, num_skipped_ = 0;
  int in_a_row_ = 0;
};

}  // namespace talpa::train
