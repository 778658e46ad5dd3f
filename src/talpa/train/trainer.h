#pragma once

#include <atomic>
#include <filesystem>

#include "talpa/train/distribution_config.h"
#include "talpa/train/optimizer.h"
#include "talpa/train/replicas.h"
#include "talpa/train/schedule.h"
#include "talpa/train/spike_guard.h"
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
  std::string device = "cpu";
  double ema_decay = 0;
  bool recompute = false;
  bool tensorboard = false;
  double peak_flops = 0;
  ScheduleConfig schedule;
  OptimizerConfig optimizer;
  SpikeGuardConfig spike_guard;
  DistributionConfig distribution;

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
        field("device", &C::device, "where to train, as libtorch names it: cpu, cuda, cuda:1"),
        field("ema_decay", &C::ema_decay,
              "decay of the weights' moving average, evaluated and saved beside them; 0 = none"),
        field("recompute", &C::recompute,
              "layers keep their inputs alone and run again for the gradient: less memory, about a "
              "third more work"),
        field("tensorboard", &C::tensorboard, "also write TensorBoard event files"),
        field("peak_flops", &C::peak_flops,
              "operations a second that MFU is a share of, 0 = measured on a CPU, else none"),
        field("schedule", &C::schedule, "learning rate"),
        field("optimizer", &C::optimizer, "optimiser"),
        field("spike_guard", &C::spike_guard, "steps that are skipped"),
        field("distribution", &C::distribution, "several processes")};
  }
  void validate(const std::string& path) const;
  bool operator==(const TrainerConfig&) const = default;
};

struct RunOptions {
  std::filesystem::path directory;          ///< the run folder
  bool resume = false;                      ///< go on from the newest checkpoint, if there is one
  const std::atomic<bool>* stop = nullptr;  ///< set by a signal: save, then throw kInterrupted
  double peak_flops = 0;                    ///< MFU is a share of these a second; 0 = none
  collective::Mesh* mesh = nullptr;         ///< the other processes of this run, if there are any
};

/// Trains until `steps`. The run folder gets `metrics.jsonl` (one object a log line or
/// evaluation), `checkpoints/` and, at the end, `final/` in bf16 (and `final-ema/`, of averages).
/// Returns the last held-out metrics, those of averages as "ema_NAME". Throws kInterrupted after
/// saving when stopped (any process of several), and kConfig when the loss is not finite, naming
/// step and newest checkpoint.
std::map<std::string, double> run_training(const TrainerConfig& config, Task& task,
                                           const RunOptions& options);

/// What a step takes, from a few that are done and forgotten: the task's parameters change.
struct StepEstimate {
  double seconds = 0;            ///< median
  std::int64_t tokens = 0;       ///< of a step
  double peak_memory_bytes = 0;  ///< of the process
};
StepEstimate time_steps(const TrainerConfig& config, Task& task, int steps);

}  // namespace talpa::train
