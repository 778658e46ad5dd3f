#pragma once

#include "talpa/base/config.h"

namespace talpa::cli {

/// The whole tree (see describe.h): our own commands, and those of talpa-lab as it describes them,
/// or by name only where there is no talpa-lab.
Json command_tree();

}  // namespace talpa::cli
