#include "talpa/train/trainer.h"

#include <torch/torch.h>

#include <chrono>
#include <cmath>

#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/threads.h"
#include "talpa/train/checkpoint.h"
#include "talpa/train/metrics.h"

namespace talpa::train {

namespace fs = std::filesystem;

void TrainerConfig::validate(const std::string& path) const {
  auto at_least = [&](const char* name, std::int64_t value, std::int64_t low) {
    if (value < low) fail(ErrorCode::kConfig, "{}.{} = {} is below {}", path, name, value, low);
  };
  at_least("steps", steps, 1);
  at_least("micro_batches", micro_batches, 1);
  at_least("log_every", log_every, 1);
  at_least("eval_every", eval_every, 0);
  at_least("checkpoint_every", checkpoint_every, 0);
  at_least("keep_checkpoints", keep_checkpoints, 1);
  at_least("threads", threads, 0);
}

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Sums of an interval between log lines.
struct Interval {
  double loss = 0, gradient_norm = 0;
  std::int64_t steps = 0, tokens = 0;
  std::map<std::string, double> metrics;
  ExpertLoad load;
  Clock::time_point start = Clock::now();
};

class Run {
 public:
  Run(const TrainerConfig& config, Task& task, const RunOptions& options)
      : config_(config),
        task_(task),
        options_(options),
        optimizer_(make_optimizer(task.parameters(), config.optimizer)),
        first_step_(restore()),
        metrics_(options.directory / "metrics.jsonl", first_step_) {}

  std::map<std::string, double> run() {
    std::map<std::string, double> held_out;
    for (std::int64_t step = first_step_; step < config_.steps; ++step) {
      train_step(step);
      const std::int64_t done = step + 1;
      const bool last = done == config_.steps;
      if (last || done % config_.log_every == 0) log_interval(step);
      if (last || (config_.eval_every > 0 && done % config_.eval_every == 0))
        held_out = evaluate(done);
      const bool stopped = options_.stop != nullptr && options_.stop->load();
      if (last || stopped || (config_.checkpoint_every > 0 && done % config_.checkpoint_every == 0))
        save_checkpoint(checkpoints(), done, task_, *optimizer_, config_.keep_checkpoints);
      if (stopped && !last)
        fail(ErrorCode::kInterrupted,
             "stopped after step {}; {} holds a checkpoint, --resume goes on", done,
             checkpoints().string());
    }
    if (held_out.empty()) held_out = evaluate(config_.steps);
    const fs::path final = options_.directory / "final";
    fs::remove_all(final);
    task_.save_model(final, DType::kBF16);
    return held_out;
  }

 private:
  fs::path checkpoints() const { return options_.directory / "checkpoints"; }

  std::int64_t restore() {
    const auto newest = latest_checkpoint(checkpoints());
    if (!options_.resume || !newest) return 0;
    const std::int64_t step = load_checkpoint(*newest, task_, *optimizer_);
    log::info("resumed from {} at step {}", newest->string(), step);
    return step;
  }

  void train_step(std::int64_t step) {
    optimizer_->zero_grad();
    double loss = 0;
    for (int micro = 0; micro < config_.micro_batches; ++micro) {
      LossResult result = task_.training_loss(step, micro);
      (result.loss / config_.micro_batches).backward();
      loss += result.loss.item<double>() / config_.micro_batches;
      interval_.tokens += result.num_tokens;
      for (const auto& [name, value] : result.metrics)
        interval_.metrics[name] += value / config_.micro_batches;
      interval_.load.add(result.routing);
    }
    const double norm = optimizer_->clip();
    if (!std::isfinite(loss) || !std::isfinite(norm)) fail_not_finite(step, loss, norm);
    optimizer_->step(learning_rate_at(config_.schedule, step, config_.steps));
    interval_.loss += loss;
    interval_.gradient_norm += norm;
    ++interval_.steps;
  }

  [[noreturn]] void fail_not_finite(std::int64_t step, double loss, double norm) const {
    const auto newest = latest_checkpoint(checkpoints());
    fail(ErrorCode::kConfig,
         "step {}: loss {} with gradient norm {} is not finite; lower schedule.learning_rate{}",
         step + 1, loss, norm,
         newest ? " and resume from " + newest->string() : std::string("; no checkpoint yet"));
  }

  void log_interval(std::int64_t step) {
    const double n = static_cast<double>(interval_.steps);
    const double elapsed = seconds_since(interval_.start);
    const double rate = static_cast<double>(interval_.tokens) / elapsed;
    const double lr = learning_rate_at(config_.schedule, step, config_.steps);
    const double left = elapsed / n * static_cast<double>(config_.steps - step - 1);
    Json row{{"step", step + 1},
             {"loss", interval_.loss / n},
             {"gradient_norm", interval_.gradient_norm / n},
             {"learning_rate", lr},
             {"tokens_per_second", rate}};
    for (const auto& [name, value] : interval_.metrics) row[name] = value / n;
    std::string load;
    if (!interval_.load.empty()) {
      row["expert_load"] = interval_.load.report();
      load = "  " + interval_.load.summary();
    }
    metrics_.write(row);
    log::info("step {}/{}  loss {:.4f}  norm {:.2f}  lr {:.2e}  {:.0f} tok/s  {} left{}", step + 1,
              config_.steps, interval_.loss / n, interval_.gradient_norm / n, lr, rate,
              format_duration(left), load);
    interval_ = {};
  }

  std::map<std::string, double> evaluate(std::int64_t done) {
    const auto start = Clock::now();
    const auto held_out = task_.evaluate();
    Json row{{"step", done}, {"evaluation_seconds", seconds_since(start)}};
    std::string shown;
    for (const auto& [name, value] : held_out) {
      row["valid_" + name] = value;
      shown += fmt::format("  {} {:.4f}", name, value);
    }
    metrics_.write(row);
    log::info("step {}/{}  held out:{}", done, config_.steps, shown);
    interval_.start = Clock::now();
    return held_out;
  }

  const TrainerConfig& config_;
  Task& task_;
  const RunOptions& options_;
  std::unique_ptr<Optimizer> optimizer_;
  std::int64_t first_step_;
  MetricsLog metrics_;
  Interval interval_;
};

}  // namespace

std::map<std::string, double> run_training(const TrainerConfig& config, Task& task,
                                           const RunOptions& options) {
  at::set_num_threads(config.threads > 0 ? config.threads : available_cores());
  fs::create_directories(options.directory);
  return Run(config, task, options).run();
}

}  // namespace talpa::train
