#pragma once

#include <CLI/CLI.hpp>

#include "talpa/engine/sampler.h"

namespace talpa::cli {

/// --temp, --top-k, --top-p, --min-p, --repeat-penalty, --repeat-last and --seed.
void add_sampling_options(CLI::App& app, SamplerOptions& sampler);

}  // namespace talpa::cli
