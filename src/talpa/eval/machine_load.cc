#include "talpa/eval/machine_load.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace talpa {

std::optional<LoadWatch::SystemTime> LoadWatch::system_time() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, soft_irq = 0, stolen = 0;
  if (!(file >> name >> user >> nice >> system >> idle >> waiting >> irq >> soft_irq >> stolen))
    return std::nullopt;
  const auto ticks = static_cast<double>(std::max(::sysconf(_SC_CLK_TCK), 1L));
  return SystemTime{(user + nice + system + irq + soft_irq) / ticks, stolen / ticks};
}

LoadWatch::LoadWatch() : start_(system_time()) {}

std::optional<MachineLoad> LoadWatch::load() const {
  const auto end = system_time();
  const Elapsed own = watch_.elapsed();
  if (!start_ || !end || own.wall <= 0) return std::nullopt;
  return MachineLoad{.seconds = own.wall,
                     .own_cores = own.cpu / own.wall,
                     .other_cores = std::max(0.0, end->busy - start_->busy - own.cpu) / own.wall,
                     .stolen_cores = std::max(0.0, end->stolen - start_->stolen) / own.wall};
}

}  // namespace talpa
