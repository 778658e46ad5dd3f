#pragma once

#include <pthread.h>

#include <filesystem>
#include <span>
#include <vector>

namespace talpa {

/// Logical processors that this process may run on.
struct Processors {
  /// By number: one of every physical core first, then the second of every core, and so on.
  std::vector<int> allowed;
  /// Physical cores among them, at least 1.
  int cores = 1;
  /// Cores' worth of time that the control groups grant; infinity without a quota.
  double quota = 0;

  /// Threads that pay for work bound by arithmetic or memory: one a physical core, no more than
  /// the quota (rounded) lets run at once, at least 1.
  int advised_threads() const;
};

/// `allowed` put in order by what `root`/sys says of siblings; the quota from the control groups
/// (v2 and v1) that `root`/proc/self/cgroup names, and those above them. What is missing or
/// malformed there does not limit.
Processors describe_processors(std::vector<int> allowed, const std::filesystem::path& root = "/");

/// Of this process as it was when first asked.
const Processors& available_processors();
/// available_processors().advised_threads().
int available_cores();

/// Processors that a thread may run on, ascending; empty where the system does not say.
std::vector<int> processors_of(pthread_t thread);
/// Lets a thread run on these only. Throws kUnsupported when the system refuses.
void bind_thread(pthread_t thread, std::span<const int> processors);

}  // namespace talpa
