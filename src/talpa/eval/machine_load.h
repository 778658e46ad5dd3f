#pragma once

#include <optional>

#include "talpa/base/stopwatch.h"

namespace talpa {

/// Who used the machine while something was measured, in cores.
struct MachineLoad {
  double seconds = 0;       ///< on the clock
  double own_cores = 0;     ///< this process
  double other_cores = 0;   ///< all other processes of the system
  double stolen_cores = 0;  ///< taken by the host of a virtual machine
};

/// Watches the system's CPU time (/proc/stat) from its construction on.
class LoadWatch {
 public:
  LoadWatch();
  /// nullopt where the system does not say.
  std::optional<MachineLoad> load() const;

 private:
  /// CPU seconds since the system started.
  struct SystemTime {
    double busy = 0, stolen = 0;
  };
  static std::optional<SystemTime> system_time();

  Stopwatch watch_;
  std::optional<SystemTime> start_;
};

}  // namespace talpa
