#include "talpa/engine/completions.h"

namespace talpa {

std::optional<CompletionEvent> Completions::next(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  ready_.wait_for(lock, timeout, [&] { return !events_.empty() || running_ == 0; });
  if (events_.empty()) return std::nullopt;
  CompletionEvent event = std::move(events_.front());
  events_.pop_front();
  if (event.is_last()) --running_;
  return event;
}

bool Completions::finished() const {
  const std::lock_guard lock(mutex_);
  return running_ == 0;
}

void Completions::push(CompletionEvent event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  ready_.notify_all();
}

}  // namespace talpa
