#include "talpa/train/trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "talpa/base/log.h"
#include "talpa/base/threads.h"
#include "talpa/train/checkpoint.h"
#include "talpa/train/run_log.h"
#include "talpa/train/sharded_optimizer.h"

namespace talpa::train {

namespace fs = std::filesystem;

namespace {
constexpr int kMostThreads = 1024;
}

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
  if (threads > kMostThreads)
    fail(ErrorCode::kConfig, "{}.threads = {} is above {}", path, threads, kMostThreads);
  if (!(ema_decay >= 0 && ema_decay < 1))
    fail(ErrorCode::kConfig, "{}.ema_decay = {} is not in [0, 1)", path, ema_decay);
  if (!(peak_flops >= 0))
    fail(ErrorCode::kConfig, "{}.peak_flops = {} is negative", path, peak_flops);
}

namespace {

std::map<std::string, at::Tensor> trained(Task& task) {
  std::map<std::string, at::Tensor> parameters;
  for (const auto& [name, value] : task.parameters())
    if (value.requires_grad()) parameters.emplace(name, value);
  return parameters;
}

void set_threads(const TrainerConfig& config) {
  at::set_num_threads(config.threads > 0 ? config.threads : available_cores());
}

/// Loss and gradients of all micro-batches of a step.
StepRecord forward_backward(const TrainerConfig& config, Task& task, Optimizer& optimizer,
                            std::int64_t step, PhaseClock& clock) {
  StepRecord record;
  optimizer.zero_grad();
  for (int micro = 0; micro < config.micro_batches; ++micro) {
    LossResult result = task.training_loss(step, micro);
    const double parts = config.micro_batches / result.share;
    record.data_seconds += result.data_seconds;
    record.loss += result.loss.item<double>() / parts;
    clock.end(record.forward_seconds);
    (result.loss / parts).backward();
    clock.end(record.backward_seconds);
    record.add(result, parts);
  }
  record.learning_rate = learning_rate_at(config.schedule, step, config.steps);
  return record;
}

std::unique_ptr<Optimizer> optimizer_of(const TrainerConfig& config, Task& task,
                                        Replicas* replicas) {
  if (replicas != nullptr && config.distribution.shard_optimizer)
    return std::make_unique<ShardedOptimizer>(trained(task), config.optimizer, *replicas);
  return make_optimizer(trained(task), config.optimizer);
}

/// What messages about a lost process say.
void set_position(collective::Mesh& mesh, const std::string& position) {
  for (auto* group : {&mesh.world(), mesh.experts(), mesh.replicas()})
    if (group != nullptr) group->set_position(position);
}

std::unique_ptr<Replicas> replicas_of(Task& task, collective::Mesh* mesh) {
  if (mesh == nullptr) return nullptr;
  auto replicas = std::make_unique<Replicas>(
      *mesh, [&task](const std::string& name) { return task.is_split(name); });
  replicas->align(task.parameters());
  return replicas;
}

class Run {
 public:
  Run(const TrainerConfig& config, Task& task, const RunOptions& options)
      : config_(config),
        task_(task),
        options_(options),
        replicas_(replicas_of(task, options.mesh)),
        optimizer_(optimizer_of(config, task, replicas_.get())),
        guard_(config.spike_guard),
        ema_(config.ema_decay > 0 ? std::make_unique<Ema>(trained(task), config.ema_decay)
                                  : nullptr),
        first_step_(restore()) {
    if (is_first())
      log_.emplace(config, options, first_step_, evaluates_first(), task.flops_per_token());
  }

  std::map<std::string, double> run() {
    std::map<std::string, double> held_out;
    if (evaluates_first()) held_out = evaluate(first_step_);
    for (std::int64_t step = first_step_; step < config_.steps; ++step) {
      const bool stopped = train_step(step);
      const std::int64_t done = step + 1;
      const bool last = done == config_.steps;
      if (log_ && (last || done % config_.log_every == 0)) log_->write(done, guard_.num_skipped());
      if (last || stopped || (config_.checkpoint_every > 0 && done % config_.checkpoint_every == 0))
        save_checkpoint(checkpoints(), done, state(), config_.keep_checkpoints);
      if (stopped && !last)
        fail(ErrorCode::kInterrupted,
             "stopped after step {}; {} holds a checkpoint, --resume goes on", done,
             checkpoints().string());
      if (is_evaluated(done)) held_out = evaluate(done);
    }
    save_final("final");
    if (ema_)
      with_averages([this] { save_final("final-ema"); });
    else if (is_first())
      fs::remove_all(options_.directory / "final-ema");
    return held_out;
  }

 private:
  bool is_evaluated(std::int64_t done) const {
    return done == config_.steps || (config_.eval_every > 0 && done % config_.eval_every == 0);
  }
  /// A checkpoint precedes its step's evaluation, which may not have been made.
  bool evaluates_first() const { return first_step_ > 0 && is_evaluated(first_step_); }

  fs::path checkpoints() const { return options_.directory / "checkpoints"; }
  bool is_first() const { return !replicas_ || replicas_->is_first(); }
  TrainingState state() {
    return {task_,      *optimizer_,     guard_,
            ema_.get(), replicas_.get(), replicas_ && config_.distribution.shard_optimizer};
  }

  std::int64_t restore() {
    if (is_first()) remove_partial_checkpoints(checkpoints());
    if (replicas_) replicas_->world().barrier();
    const auto newest = latest_checkpoint(checkpoints());
    if (replicas_ && options_.resume)
      replicas_->check_alike(
          newest ? newest->filename().string() : "none",
          "the newest checkpoint: the run folder must be on a disk that all see");
    if (!options_.resume || !newest) return 0;
    const std::int64_t step = load_checkpoint(*newest, state());
    if (step > config_.steps)
      fail(ErrorCode::kConfig, "{} is at step {}, beyond trainer.steps = {}", newest->string(),
           step, config_.steps);
    log::info("resumed from {} at step {}", newest->string(), step);
    return step;
  }

  /// Whether the run was asked to stop.
  bool train_step(std::int64_t step) {
    if (replicas_) set_position(*options_.mesh, fmt::format("step {}", step + 1));
    PhaseClock clock;
    StepRecord record = forward_backward(config_, task_, *optimizer_, step, clock);
    bool stop = options_.stop != nullptr && options_.stop->load();
    if (replicas_) {
      replicas_->sum_gradients(trained(task_));
      stop = replicas_->combine(record, stop);
      clock.end(record.exchange_seconds);
    }
    record.gradient_norm = optimizer_->clip(replicas_.get());
    if (config_.spike_guard.deviations == 0 &&
        (!std::isfinite(record.loss) || !std::isfinite(record.gradient_norm)))
      fail_not_finite(step, record.loss, record.gradient_norm);
    record.skipped = !guard_.accept(step, record.loss, record.gradient_norm);
    if (!record.skipped) {
      optimizer_->step(record.learning_rate);
      task_.after_step();
      if (ema_) ema_->update();
    }
    clock.end(record.optimizer_seconds);
    if (log_) log_->add(std::move(record));
    return stop;
  }

  [[noreturn]] void fail_not_finite(std::int64_t step, double loss, double norm) const {
    const auto newest = latest_checkpoint(checkpoints());
    fail(ErrorCode::kConfig,
         "step {}: loss {} with gradient norm {} is not finite; lower "
         "trainer.schedule.learning_rate{}",
         step + 1, loss, norm,
         newest ? " and resume from " + newest->string() : std::string("; no checkpoint yet"));
  }

  std::map<std::string, double> evaluate(std::int64_t done) {
    const auto start = Clock::now();
    auto held_out = task_.evaluate();
    if (ema_)
      with_averages([&] {
        for (const auto& [name, value] : task_.evaluate()) held_out["ema_" + name] = value;
      });
    if (log_) log_->write_evaluation(done, held_out, seconds_since(start));
    return held_out;
  }

  template <class Body>
  void with_averages(Body&& body) {
    ema_->swap();
    body();
    ema_->swap();
  }

  void save_final(const char* name) {
    const fs::path path = options_.directory / name;
    if (is_first()) fs::remove_all(path);
    task_.save_model(path, DType::kBF16);
  }

  const TrainerConfig& config_;
  Task& task_;
  const RunOptions& options_;
  std::unique_ptr<Replicas> replicas_;
  std::unique_ptr<Optimizer> optimizer_;
  SpikeGuard guard_;
  std::unique_ptr<Ema> ema_;
  std::int64_t first_step_;
  std::optional<RunLog> log_;  ///< of the first process
};

}  // namespace

std::map<std::string, double> run_training(const TrainerConfig& config, Task& task,
                                           const RunOptions& options) {
  set_threads(config);
  fs::create_directories(options.directory);
  return Run(config, task, options).run();
}

StepEstimate time_steps(const TrainerConfig& config, Task& task, int steps) {
  set_threads(config);
  const auto optimizer = make_optimizer(trained(task), config.optimizer);
  StepEstimate estimate;
  std::vector<double> seconds;
  for (int step = 0; step < steps; ++step) {
    const auto start = Clock::now();
    PhaseClock clock;
    const StepRecord record = forward_backward(config, task, *optimizer, step, clock);
    optimizer->clip();
    optimizer->step(record.learning_rate);
    seconds.push_back(seconds_since(start));
    estimate.tokens = record.tokens;
  }
  std::sort(seconds.begin(), seconds.end());
  estimate.seconds = seconds[seconds.size() / 2];
  estimate.peak_memory_bytes = peak_memory();
  return estimate;
}

}  // namespace talpa::train
