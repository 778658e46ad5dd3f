#pragma once

#include <spdlog/spdlog.h>

namespace talpa {

/// Sends the log to stderr as "level: message", coloured only on a terminal. Verbosity:
/// -1 errors only, 0 warnings and notes, 1 debug. Data never goes through the log.
void start_log(int verbosity);

/// The log itself: `log::info("...", args)`, `log::warn`, `log::debug`, `log::error`.
namespace log {
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;
}  // namespace log

}  // namespace talpa
