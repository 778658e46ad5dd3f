#pragma once

#include <span>

#include "talpa/cli/commands.h"

namespace talpa::cli {

void setup_calibrate(CLI::App& app);
void setup_carve(CLI::App& app);
void setup_convert(CLI::App& app);
void setup_train(CLI::App& app);
void setup_laboratory_doctor(CLI::App& app);

/// Commands of talpa-lab.
std::span<const CommandSetup> laboratory_commands();

}  // namespace talpa::cli
