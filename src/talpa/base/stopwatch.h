#pragma once

#include <chrono>
#include <ctime>

namespace talpa {

/// Seconds on the clock, and of CPU time of all threads of this process. On a machine shared with
/// others CPU time is what repeats.
struct Elapsed {
  double wall = 0;
  double cpu = 0;
};

/// Runs from its construction on.
class Stopwatch {
 public:
  Stopwatch() : start_(now()) {}

  Elapsed elapsed() const {
    const Elapsed end = now();
    return {end.wall - start_.wall, end.cpu - start_.cpu};
  }

 private:
  static Elapsed now() {
    timespec cpu{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const auto wall = std::chrono::steady_clock::now().time_since_epoch();
    return {std::chrono::duration<double>(wall).count(),
            static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec)};
  }

  Elapsed start_;
};

}  // namespace talpa
