#pragma once

#include "talpa/base/config.h"

namespace talpa::train {

/// What a run was made with: compiler, libtorch, BLAS, CPU and its instruction sets, cores.
Json environment();

}  // namespace talpa::train
