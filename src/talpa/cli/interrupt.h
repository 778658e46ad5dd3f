#pragma once

#include <atomic>

namespace talpa::cli {

/// Catches Ctrl-C and SIGTERM from here on: the first sets the flag, so that the command can stop
/// and save what there is; a second one ends the process as if nothing had caught it.
const std::atomic<bool>& catch_interrupts();

/// Whether Ctrl-C came since the last call, or SIGTERM; the next one is caught again.
bool take_interrupt();

/// Throws kInterrupted with `message` if the flag is set.
void stop_if_interrupted(const char* message);

}  // namespace talpa::cli
