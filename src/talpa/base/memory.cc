#include "talpa/base/memory.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace talpa {

namespace {

/// Value of a line "MemTotal:  123 kB" of /proc/meminfo, in bytes.
std::uint64_t meminfo(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::uint64_t value = 0;
  while (file >> key >> value) {
    std::getline(file, unit);
    if (key == name + ":") return value * 1024;
  }
  return 0;
}

std::uint64_t number_in(const char* path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : 0;
}

/// Value of a line "inactive_file 123" of a control group's memory.stat.
std::uint64_t group_statistic(const std::string& name) {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::string key;
  std::uint64_t value = 0;
  while (file >> key >> value)
    if (key == name) return value;
  return 0;
}

}  // namespace

MemoryInfo memory_info() {
  MemoryInfo memory{meminfo("MemTotal"), meminfo("MemAvailable")};
  const std::uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  if (limit > 0 && limit < memory.total) {
    const std::uint64_t current = number_in("/sys/fs/cgroup/memory.current");
    const std::uint64_t used = current - std::min(current, group_statistic("inactive_file"));
    memory.total = limit;
    memory.available = std::min(memory.available, limit - std::min(limit, used));
  }
  return memory;
}

void return_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace talpa
