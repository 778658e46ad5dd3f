#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "talpa/cli/commands.h"

namespace talpa::cli {

/// Where talpa-lab lies: beside this executable or in ../libexec/talpa; nullopt if nowhere.
std::optional<std::filesystem::path> find_laboratory();

/// Replaces this process by talpa-lab with the same command line. Sets OMP_WAIT_POLICY=passive
/// unless the environment has a value, and OMP_NUM_THREADS from --threads. Throws kNotFound,
/// saying how to build talpa-lab, when it is missing.
[[noreturn]] void start_laboratory(const CommandInfo& command, int argc, char** argv);

/// Standard output of a program that ends with status 0 within `seconds`; nullopt otherwise.
std::optional<std::string> output_of(const std::filesystem::path& program,
                                     const std::vector<std::string>& arguments, int seconds);

}  // namespace talpa::cli
