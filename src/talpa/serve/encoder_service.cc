#include "talpa/serve/encoder_service.h"

#include <chrono>

#include "talpa/base/error.h"
#include "talpa/serve/api_error.h"

namespace talpa::serve {

namespace {

int context_of(const EncoderConfig& config, int wanted) {
  return wanted > 0 ? std::min(wanted, config.max_positions) : config.max_positions;
}

[[noreturn]] void fail_draining() {
  throw Draining(ErrorCode::kInterrupted, "the server is shutting down");
}

}  // namespace

/// A request's place among those that were taken.
class EncoderService::Place {
 public:
  explicit Place(EncoderService& service) : service_(service) {
    const std::lock_guard lock(service.mutex_);
    if (service.draining_) fail_draining();
    if (service.stats_.waiting >= static_cast<std::size_t>(service.options.queue))
      throw QueueFull(ErrorCode::kUsage,
                      fmt::format("the queue is full: {} requests wait", service.stats_.waiting));
    ++service.stats_.waiting;
  }
  ~Place() {
    const std::lock_guard lock(service_.mutex_);
    --service_.stats_.waiting;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

 private:
  EncoderService& service_;
};

/// A step of one request; steps are handed out in the order in which they were asked for.
class EncoderService::Turn {
 public:
  explicit Turn(EncoderService& service) : service_(service) {
    std::unique_lock lock(service.mutex_);
    const std::uint64_t mine = service.turns_given_++;
    service.next_.wait(lock, [&] { return service.turns_over_ == mine; });
    service.stats_.running = 1;
    start_ = std::chrono::steady_clock::now();
  }
  ~Turn() {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    {
      const std::lock_guard lock(service_.mutex_);
      ++service_.turns_over_;
      service_.stats_.running = 0;
      ++service_.stats_.steps;
      service_.stats_.busy_seconds += seconds.count();
    }
    service_.next_.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  EncoderService& service_;
  std::chrono::steady_clock::time_point start_;
};

EncoderService::EncoderService(const LoadedEncoder& loaded_, EncoderServiceOptions options_)
    : loaded(loaded_),
      options(std::move(options_)),
      created(std::chrono::duration_cast<std::chrono::seconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()),
      text(*loaded_.tokenizer, context_of(loaded_.files.config, options.context)) {}

std::vector<std::vector<float>> EncoderService::embed(
    const std::vector<std::vector<TokenId>>& texts, const HttpRequest& http) {
  const Place place(*this);
  std::vector<std::vector<float>> vectors;
  for (std::span<const std::vector<TokenId>> left(texts); !left.empty();) {
    const Turn turn(*this);
    if (http.client_gone()) throw ApiError(499, "the client went away");
    const auto step = left.first(Encoder::texts_of_step(left));
    std::size_t tokens = 0;
    for (const auto& one : step) tokens += one.size();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) fail_draining();
      stats_.prompt_tokens += tokens;
    }
    for (auto& vector : loaded.encoder->embed(step)) vectors.push_back(std::move(vector));
    left = left.subspan(step.size());
  }
  return vectors;
}

void EncoderService::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool EncoderService::draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

void EncoderService::stop() {
  const std::lock_guard lock(mutex_);
  draining_ = stopping_ = true;
}

bool EncoderService::idle() const {
  const std::lock_guard lock(mutex_);
  return stats_.waiting == 0;
}

SchedulerStats EncoderService::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace talpa::serve
