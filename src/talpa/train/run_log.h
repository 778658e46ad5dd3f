#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "talpa/train/event_file.h"
#include "talpa/train/metrics.h"
#include "talpa/train/task.h"
#include "talpa/train/trainer.h"

namespace talpa::train {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Most memory that this process has held at once, bytes.
double peak_memory();

/// What one step gave, and where its time went.
struct StepRecord {
  double loss = 0, gradient_norm = 0, learning_rate = 0;
  double data_seconds = 0;     ///< making batches
  double forward_seconds = 0;  ///< with data, until it is logged
  double backward_seconds = 0, optimizer_seconds = 0;
  double exchange_seconds = 0;  ///< of gradients with other processes
  std::int64_t tokens = 0;
  std::map<std::string, double> metrics;
  ExpertLoad load;
  bool skipped = false;  ///< by the spike guard: its values are not part of means

  /// One of `parts` parts of the step.
  void add(const LossResult& result, double parts);
};

/// Adds the time since the last end (or its construction) to a phase of a record.
class PhaseClock {
 public:
  PhaseClock() : last_(Clock::now()) {}
  void end(double& seconds) {
    seconds += seconds_since(last_);
    last_ = Clock::now();
  }

 private:
  Clock::time_point last_;
};

/// What a run says: lines of the log, rows of metrics.jsonl and, if asked for, TensorBoard events.
class RunLog {
 public:
  /// `evaluates_again`: the run begins with the evaluation of `first_step`.
  RunLog(const TrainerConfig& config, const RunOptions& options, std::int64_t first_step,
         bool evaluates_again, double flops_per_token);

  void add(StepRecord record);
  /// The mean of steps since the last line.
  void write(std::int64_t done, std::int64_t num_skipped);
  void write_evaluation(std::int64_t done, const std::map<std::string, double>& held_out,
                        double seconds);

 private:
  Json row_of(std::int64_t done, std::int64_t num_skipped) const;
  void write_events(std::int64_t done, const Json& row);

  const TrainerConfig& config_;
  double peak_flops_, flops_per_token_;
  MetricsLog metrics_;
  std::optional<EventFile> events_;
  StepRecord sum_;
  std::int64_t num_steps_ = 0, num_taken_ = 0;
};

}  // namespace talpa::train
