#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "talpa/base/config.h"

namespace talpa::cli {

/// Memory as the system and the control group grant it, bytes; 0 = unknown.
struct MemoryInfo {
  std::uint64_t total = 0;
  std::uint64_t available = 0;
};
MemoryInfo memory_info();

/// What this machine is, for `talpa doctor` and for the head of reports.
struct MachineReport {
  Json facts;                      ///< cpu, features, cores, memory, laboratory, ...
  std::vector<std::string> notes;  ///< what will be slow or is missing, and why
};
MachineReport examine_machine();

}  // namespace talpa::cli
