#pragma once

#include <string>

#include "talpa/base/config.h"

namespace talpa::cli {

/// Manual pages in the roff of man(7), made from a command tree (see describe.h): talpa(1) from the
/// whole, talpa-<command>(1) from one of its "commands", with the commands below it as sections.
std::string program_man_page(const Json& tree);
std::string command_man_page(const Json& command);

}  // namespace talpa::cli
