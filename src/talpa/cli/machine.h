#pragma once

#include <string>
#include <vector>

#include "talpa/base/config.h"

namespace talpa::cli {

/// What this machine is, for `talpa doctor` and for the head of reports.
struct MachineReport {
  Json facts;                      ///< cpu, features, cores, memory, laboratory, ...
  std::vector<std::string> notes;  ///< what will be slow or is missing, and why
};
MachineReport examine_machine();

}  // namespace talpa::cli
