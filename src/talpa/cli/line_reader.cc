#include "talpa/cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "talpa/base/error.h"
#include "talpa/cli/interrupt.h"

namespace talpa::cli {

namespace {
constexpr std::size_t kLongestLine = 16 << 20;
constexpr int kPasteMilliseconds = 20;
constexpr int kLookMilliseconds = 100;
}  // namespace

bool LineReader::is_terminal() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

bool LineReader::take_line(std::string& line) {
  const std::size_t end = buffer_.find('\n');
  if (end == buffer_.npos && !(ended_ && !buffer_.empty())) return false;
  line = buffer_.substr(0, end);
  if (line.ends_with('\r')) line.pop_back();
  buffer_.erase(0, end == buffer_.npos ? end : end + 1);
  return true;
}

LineReader::Outcome LineReader::fill() {
  // Another thread may have caught the signal, which then ends no call of this one.
  const std::atomic<bool>& interrupted = catch_interrupts();
  pollfd input{STDIN_FILENO, POLLIN, 0};
  int ready = 0;
  while (ready <= 0) {
    ready = poll(&input, 1, kLookMilliseconds);
    if (interrupted.load()) return Outcome::kInterrupted;
  }
  std::array<char, 65536> piece;
  const ssize_t count = read(STDIN_FILENO, piece.data(), piece.size());
  if (count < 0 && errno == EINTR) return Outcome::kInterrupted;
  if (count < 0) fail(ErrorCode::kIo, "cannot read standard input: {}", std::strerror(errno));
  if (count == 0) ended_ = true;
  buffer_.append(piece.data(), static_cast<std::size_t>(count));
  if (buffer_.size() > kLongestLine)
    fail(ErrorCode::kFormat, "a line of more than {} bytes on standard input", kLongestLine);
  return Outcome::kLine;
}

LineReader::Outcome LineReader::next(std::string& line) {
  while (!take_line(line)) {
    if (ended_) return Outcome::kEnd;
    if (fill() == Outcome::kInterrupted) return Outcome::kInterrupted;
  }
  return Outcome::kLine;
}

bool LineReader::has_more() {
  if (buffer_.find('\n') != buffer_.npos) return true;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return !ended_ && poll(&input, 1, kPasteMilliseconds) == 1 && (input.revents & POLLIN) != 0;
}

}  // namespace talpa::cli
