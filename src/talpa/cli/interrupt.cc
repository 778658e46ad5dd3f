#include "talpa/cli/interrupt.h"

#include <csignal>

#include "talpa/base/error.h"

namespace talpa::cli {

namespace {
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) { interrupted.store(true, std::memory_order_relaxed); }
}  // namespace

const std::atomic<bool>& catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  // Restarted: a write that a signal cuts short would be an error, and text be lost.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

bool take_interrupt() {
  catch_interrupts();
  return interrupted.exchange(false);
}

void stop_if_interrupted(const char* message) {
  if (interrupted.load(std::memory_order_relaxed)) fail(ErrorCode::kInterrupted, "{}", message);
}

}  // namespace talpa::cli
