#pragma once

#include <string>
#include <vector>

namespace talpa::cli {

/// Runs `talpa COMMAND` as `size` processes that find each other as torchrun's do (RANK,
/// WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT). The first has this
/// process' output; lines that others write to standard error get their rank in front, what they
/// write to standard output is dropped. SIGINT and SIGTERM go to all.
///
/// When one ends badly the others get ten seconds to notice and end. Throws then, naming it;
/// kInterrupted where all ended as interrupted.
void run_process_group(int size, const std::vector<std::string>& command);

}  // namespace talpa::cli
