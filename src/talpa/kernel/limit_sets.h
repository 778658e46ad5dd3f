#pragma once

#include <vector>

#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {

/// Instruction sets of this CPU without what it cannot run.
std::vector<LimitFunctions> limit_functions();

}  // namespace talpa::kernel
