#include "talpa/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace talpa {

std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::max(0.0, seconds) + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

Progress::Progress(std::string title, std::int64_t total)
    : title_(std::move(title)),
      total_(std::max<std::int64_t>(total, 1)),
      start_(Clock::now()),
      last_(start_),
      terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { finish(); }

std::string Progress::line(std::int64_t done, const std::string& note, double elapsed) const {
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0., 1.);
  const double left = share > 0 ? elapsed / share - elapsed : 0;
  std::string bar;
  if (terminal_) {
    constexpr int kWidth = 24;
    const int full = static_cast<int>(share * kWidth);
    bar = fmt::format(" [{:#<{}}{:.<{}}]", "", full, "", kWidth - full);
  }
  return fmt::format("{}{} {:3.0f}% {}/{} {} left{}{}", title_, bar, share * 100, done, total_,
                     format_duration(left), note.empty() ? "" : "  ", note);
}

void Progress::update(std::int64_t done, const std::string& note) {
  const auto now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double since = std::chrono::duration<double>(now - last_).count();
  if (elapsed < 2 || since < (terminal_ ? 0.1 : 10)) return;
  last_ = now;
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", line(done, note, elapsed));
    drawn_ = true;
  } else {
    fmt::print(stderr, "{}\n", line(done, note, elapsed));
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace talpa
