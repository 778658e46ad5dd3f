#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace talpa {

/// Progress of something longer than two seconds, on stderr: a redrawn bar on a terminal, a
/// plain line every ten seconds otherwise. Silent for the first two seconds.
class Progress {
 public:
  Progress(std::string title, std::int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total`; `note` is shown behind the bar.
  void update(std::int64_t done, const std::string& note = {});
  /// Clears the bar from the terminal.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(std::int64_t done, const std::string& note, double elapsed) const;

  std::string title_;
  std::int64_t total_;
  Clock::time_point start_;
  Clock::time_point last_;
  bool terminal_;
  bool drawn_ = false;
};

/// "1:05" or "2:03:04" of seconds.
std::string format_duration(double seconds);

}  // namespace talpa
