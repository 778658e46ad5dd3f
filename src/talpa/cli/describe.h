#pragma once

#include <string_view>

#include "talpa/base/config.h"

namespace CLI {
class App;
}

namespace talpa::cli {

/// Hidden sub-command that prints the program's command tree as JSON; completion scripts and the
/// pages of docs/commands are made from it.
inline constexpr std::string_view kDescribeCommand = "__describe";

void add_describe_command(CLI::App& app);

/// {name, summary, group, options: [{names, positional, value, default, choices, help, group}],
/// commands: [...]}.
Json describe(const CLI::App& app);

}  // namespace talpa::cli
