#include "talpa/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace talpa {

void start_log(int verbosity) {
  auto logger = std::make_shared<spdlog::logger>(
      "talpa", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%^%l%$: %v");
  logger->set_level(verbosity < 0    ? spdlog::level::err
                    : verbosity == 0 ? spdlog::level::info
                                     : spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace talpa
