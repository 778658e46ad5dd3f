#include "talpa/base/processors.h"

#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "talpa/base/error.h"

namespace talpa {

namespace {

namespace fs = std::filesystem;

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

constexpr int kMostProcessors = 1 << 16;

/// A set of processors as the system wants it.
class ProcessorSet {
 public:
  explicit ProcessorSet(int size)
      : words_(CPU_ALLOC_SIZE(static_cast<std::size_t>(size)) / sizeof(cpu_set_t) + 1) {}

  std::size_t bytes() const { return words_.size() * sizeof(cpu_set_t); }
  cpu_set_t* data() { return words_.data(); }
  bool has(int i) const { return CPU_ISSET_S(static_cast<std::size_t>(i), bytes(), words_.data()); }
  void add(int i) { CPU_SET_S(static_cast<std::size_t>(i), bytes(), words_.data()); }

 private:
  std::vector<cpu_set_t> words_;
};

/// The first of the processors that share a core: the lists begin with the smallest number.
int core_of(int processor, const fs::path& root) {
  const fs::path topology =
      root / "sys/devices/system/cpu" / ("cpu" + std::to_string(processor)) / "topology";
  int first = 0;
  for (const char* name : {"thread_siblings_list", "core_cpus_list"})
    if (std::ifstream file(topology / name); file >> first && first >= 0) return first;
  return processor;
}

/// Cores granted by one control group.
double quota_of(const fs::path& group) {
  double quota = 0, period = 0;
  if (std::ifstream v2(group / "cpu.max"); v2 >> quota >> period)  // "max" is no number
    return quota > 0 && period > 0 ? quota / period : kNoQuota;
  std::ifstream v1_quota(group / "cpu.cfs_quota_us"), v1_period(group / "cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) return quota / period;
  return kNoQuota;
}

/// Of a group and those above it. Inside a container the path may name a group outside: then only
/// the top, which is the container's own, is found.
double quota_below(const fs::path& hierarchy, const fs::path& path) {
  double quota = kNoQuota;
  for (fs::path group = path.relative_path().lexically_normal();; group = group.parent_path()) {
    quota = std::min(quota, quota_of(hierarchy / group));
    if (group.empty()) return quota;
  }
}

/// Lines of /proc/self/cgroup are id:controllers:path, without controllers in v2.
double quota_of_process(const fs::path& root) {
  const fs::path groups = root / "sys/fs/cgroup";
  double quota = std::min(quota_of(groups), quota_of(groups / "cpu"));
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t controllers = line.find(':') + 1, path = line.find(':', controllers) + 1;
    if (controllers == 0 || path == 0) continue;
    std::istringstream names(line.substr(controllers, path - 1 - controllers));
    if (path - 1 == controllers) quota = std::min(quota, quota_below(groups, line.substr(path)));
    for (std::string name; std::getline(names, name, ',');)
      if (name == "cpu") quota = std::min(quota, quota_below(groups / "cpu", line.substr(path)));
  }
  return quota;
}

}  // namespace

int Processors::advised_threads() const {
  const double granted = std::floor(std::min<double>(cores, quota + 0.5));
  return std::max(1, static_cast<int>(granted));
}

Processors describe_processors(std::vector<int> allowed, const fs::path& root) {
  std::sort(allowed.begin(), allowed.end());
  std::map<int, int> threads_of_core;
  std::vector<std::pair<int, int>> ranked;  // (how many of its core come before, processor)
  for (const int processor : allowed)
    ranked.emplace_back(threads_of_core[core_of(processor, root)]++, processor);
  std::stable_sort(ranked.begin(), ranked.end());
  Processors result{.cores = std::max(1, static_cast<int>(threads_of_core.size())),
                    .quota = quota_of_process(root)};
  for (const auto& [rank, processor] : ranked) result.allowed.push_back(processor);
  return result;
}

const Processors& available_processors() {
  static const Processors processors = [] {
    std::vector<int> allowed = processors_of(pthread_self());
    if (allowed.empty()) {
      allowed.resize(std::max(1u, std::thread::hardware_concurrency()));
      std::iota(allowed.begin(), allowed.end(), 0);
    }
    return describe_processors(std::move(allowed));
  }();
  return processors;
}

int available_cores() { return available_processors().advised_threads(); }

std::vector<int> processors_of(pthread_t thread) {
  std::vector<int> processors;
  // The kernel refuses a set smaller than its own.
  for (int size = CPU_SETSIZE; size <= kMostProcessors && processors.empty(); size *= 4) {
    ProcessorSet set(size);
    if (pthread_getaffinity_np(thread, set.bytes(), set.data()) != 0) continue;
    for (int i = 0; i < size; ++i)
      if (set.has(i)) processors.push_back(i);
  }
  return processors;
}

void bind_thread(pthread_t thread, std::span<const int> processors) {
  ProcessorSet set(
      std::max(CPU_SETSIZE, *std::max_element(processors.begin(), processors.end()) + 1));
  for (const int processor : processors) set.add(processor);
  if (const int error = pthread_setaffinity_np(thread, set.bytes(), set.data()); error != 0)
    fail(ErrorCode::kUnsupported, "cannot run on processors {}: {}", fmt::join(processors, ","),
         std::strerror(error));
}

}  // namespace talpa
