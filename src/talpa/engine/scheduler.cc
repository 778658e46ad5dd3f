#include "talpa/engine/scheduler.h"

#include <thread>

#include "talpa/base/log.h"
#include "talpa/engine/batch.h"
#include "talpa/engine/waiting_line.h"

namespace talpa {

namespace {

void add_counts(const RoutingCounts& step, RoutingCounts& total) {
  total.rows_per_expert.resize(step.rows_per_expert.size());
  for (std::size_t layer = 0; layer < step.rows_per_expert.size(); ++layer) {
    const auto& from = step.rows_per_expert[layer];
    auto& to = total.rows_per_expert[layer];
    to.resize(from.size());
    for (std::size_t e = 0; e < from.size(); ++e) to[e] += from[e];
  }
}

/// Checked, with the model's context where none is asked for.
SchedulerOptions completed(SchedulerOptions options, const DecoderConfig& config) {
  options.validate();
  if (options.context == 0) options.context = config.max_positions;
  return options;
}

}  // namespace

void SchedulerOptions::validate() const {
  auto check = [](bool good, const char* name, int value) {
    if (!good) fail(ErrorCode::kConfig, "{}: expected a positive count, got {}", name, value);
  };
  check(parallel > 0 && parallel <= 1024, "parallel (at most 1024)", parallel);
  check(context >= 0, "context", context);
  check(queue > 0, "queue", queue);
  check(step_tokens > 0, "step_tokens", step_tokens);
}

struct Scheduler::Impl {
  const LoadedModel& loaded;
  SchedulerOptions options;
  mutable std::mutex mutex;
  std::condition_variable work;
  WaitingLine line;
  SchedulerStats stats;
  bool draining = false, stopping = false;
  Batch batch;
  std::thread thread;

  Impl(const LoadedModel& model, const SchedulerOptions& wanted)
      : loaded(model), options(completed(wanted, model.model->config())), batch(model, options) {
    thread = std::thread([this] { run(); });
  }

  void check(const CompletionRequest& request) const;
  bool join();
  void run();
  void step();
};

void Scheduler::Impl::check(const CompletionRequest& request) const {
  const int vocab_size = loaded.model->config().vocab_size;
  for (const TokenId token : request.prompt)
    if (token < 0 || token >= vocab_size)
      fail(ErrorCode::kUsage, "prompt: token id {} is outside the vocabulary of {}", token,
           vocab_size);
  if (request.embed && request.generate.max_tokens != 0)
    fail(ErrorCode::kUsage, "an embedding wants max_tokens 0, got {}", request.generate.max_tokens);
  const Continuation tried(loaded, request.prompt, request.generate);
  if (tried.capacity() > options.context)
    fail(ErrorCode::kUsage,
         "the prompt of {} tokens and max_tokens {} exceed the context of {} tokens",
         request.prompt.size(), request.generate.max_tokens, options.context);
}

/// Moves requests that wait into the batch as far as there is room; false at the end.
bool Scheduler::Impl::join() {
  std::unique_lock lock(mutex);
  line.drop_cancelled();
  if (batch.size() == 0) work.wait(lock, [&] { return stopping || line.size() > 0; });
  while (batch.size() < static_cast<std::size_t>(options.parallel)) {
    auto next = line.take();
    if (!next) break;
    stats.cached_tokens += static_cast<std::uint64_t>(batch.add(std::move(*next)));
  }
  stats.running = batch.size();
  return !stopping;
}

void Scheduler::Impl::run() {
  while (join()) {
    try {
      step();
    } catch (const std::exception& error) {  // out of memory, or a defect: those that run fail
      log::error("a step failed: {}", error.what());
      batch.end_all(error.what());
    }
  }
  batch.end_all({});
}

void Scheduler::Impl::step() {
  const auto start = std::chrono::steady_clock::now();
  RoutingCounts routing;
  batch.step(routing);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const std::lock_guard lock(mutex);
  stats.running = batch.size();
  stats.kv_bytes = batch.kv_bytes();
  stats.prefix_bytes = batch.prefix_bytes();
  stats.busy_seconds += seconds.count();
  stats.prompt_tokens += batch.last_step().prompt_tokens;
  stats.generated_tokens += batch.last_step().generated_tokens;
  ++stats.steps;
  if (!routing.rows_per_expert.empty()) add_counts(routing, stats.routing);
}

Scheduler::Scheduler(const LoadedModel& loaded, const SchedulerOptions& options)
    : impl_(std::make_unique<Impl>(loaded, options)) {}

Scheduler::~Scheduler() { stop(); }

void Scheduler::stop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = impl_->draining = true;
  }
  impl_->work.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
  const std::lock_guard lock(impl_->mutex);
  while (auto pending = impl_->line.take())
    pending->completions->push({.index = pending->index, .finish = FinishReason::kCancelled});
}

int Scheduler::context() const { return impl_->options.context; }

std::shared_ptr<Completions> Scheduler::submit(std::vector<CompletionRequest> requests) {
  if (requests.size() > static_cast<std::size_t>(impl_->options.queue))
    fail(ErrorCode::kUsage, "{} requests at once, at most {} may wait", requests.size(),
         impl_->options.queue);
  for (const CompletionRequest& request : requests) impl_->check(request);
  auto completions = std::make_shared<Completions>(requests.size());
  std::deque<PendingCompletion> group;
  for (std::size_t i = 0; i < requests.size(); ++i)
    group.push_back({std::move(requests[i]), completions, i});
  const std::lock_guard lock(impl_->mutex);
  if (impl_->draining) throw Draining(ErrorCode::kInterrupted, "the server is shutting down");
  if (impl_->line.size() + group.size() > static_cast<std::size_t>(impl_->options.queue))
    throw QueueFull(ErrorCode::kUsage,
                    fmt::format("the queue is full: {} requests wait, {} came, {} may wait",
                                impl_->line.size(), group.size(), impl_->options.queue));
  impl_->line.add(std::move(group));
  impl_->work.notify_all();
  return completions;
}

void Scheduler::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

bool Scheduler::draining() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->draining;
}

bool Scheduler::idle() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->line.size() == 0 && impl_->stats.running == 0;
}

SchedulerStats Scheduler::stats() const {
  const std::lock_guard lock(impl_->mutex);
  SchedulerStats stats = impl_->stats;
  stats.waiting = impl_->line.size();
  return stats;
}

}  // namespace talpa
