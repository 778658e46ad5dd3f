#pragma once

#include <optional>
#include <string>

namespace talpa::cli {

/// Lines of standard input, read so that Ctrl-C is noticed while it waits for one.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };

  /// The next line, without its end. Throws kIo, or kFormat for one of more than 16 MiB.
  Outcome next(std::string& line);
  /// True if someone sits there: standard input and output are terminals.
  static bool is_terminal();
  /// A line has come already, as the rest of a pasted text has.
  bool has_more();

 private:
  bool take_line(std::string& line);
  Outcome fill();

  std::string buffer_;
  bool ended_ = false;
};

}  // namespace talpa::cli
