#pragma once

#include <atomic>
#include <filesystem>

#include "talpa/train/optimizer.h"
#include "talpa/train/schedule.h"
#include "talpa/train/task.h"

namespace talpa::train {

struct TrainerConfig {
  std::int64_t steps = 1000;
  int micro_batches = 1;
  std::int64_t log_every = 20;
  std::int64_t eval_every = 500;
  std::int64_t checkpoint_every = 500;
  int keep_checkpoints = 2;
  int threads = 0;
  ScheduleConfig schedule;
  OptimizerConfig optimizer;

  static constexpr auto fields() {
    using C = TrainerConfig;
    return std::tuple{
        field("steps", &C::steps, "optimiser steps"),
        field("micro_batches", &C::micro_batches, "batches whose gradients are summed in a step"),
        field("log_every", &C::log_every, "steps between log lines"),
        field("eval_every", &C::eval_every, "steps between evaluations, 0 = only at the end"),
        field("checkpoint_every", &C::checkpoint_every,
              "steps between checkpoints, 0 = only at the end"),
        field("keep_checkpoints", &C::keep_checkpoints, "newest checkpoints that are kept"),
        field("threads", &C::threads, "threads of libtorch, 0 = available cores"),
        field("schedule", &C::schedule, "learning rate"),
        field("optimizer", &C::optimizer, "optimiser")};
  }
  void validate(const std::string& path) const;
  bool operator==(const TrainerConfig&) const = default;
};

struct RunOptions {
  std::filesystem::path directory;          ///< the run folder
  bool resume = false;                      ///< go on from the newest checkpoint, if there is one
  const std::atomic<bool>* stop = nullptr;  ///< set by a signal: save, then throw kInterrupted
};

/// Trains until `steps`. The run folder gets `metrics.jsonl` (one object a log line or
/// evaluation), `checkpoints/` and, at the end, `final/` in bf16. Returns the last held-out
/// metrics. Throws kInterrupted after saving when stopped, and kConfig when the loss is not
/// finite, naming step and newest checkpoint.
std::map<std::string, double> run_training(const TrainerConfig& config, Task& task,
                                           const RunOptions& options);

}  // namespace talpa::train
