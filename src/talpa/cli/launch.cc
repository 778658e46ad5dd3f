#include "talpa/cli/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

#include "talpa/base/error.h"

namespace talpa::cli {

namespace {

namespace fs = std::filesystem;

fs::path own_folder() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::current_path() : self.parent_path();
}

std::array<fs::path, 2> laboratory_places() {
  const fs::path folder = own_folder();
  return {folder / "talpa-lab", (folder / "../libexec/talpa/talpa-lab").lexically_normal()};
}

/// Value of --threads on a command line, or empty.
std::string threads_argument(int argc, char** argv) {
  constexpr std::string_view kName = "--threads";
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == kName && i + 1 < argc) return argv[i + 1];
    if (argument.starts_with("--threads=")) return std::string(argument.substr(kName.size() + 1));
  }
  return {};
}

/// Reads until the end, the deadline (false) or an error (false).
bool drain(int descriptor, int seconds, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::array<char, 4096> buffer;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd wait{descriptor, POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&wait, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t n = ::read(descriptor, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

[[noreturn]] void run_child(const fs::path& program, const std::vector<std::string>& arguments,
                            int output) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::dup2(output, STDOUT_FILENO);
  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDERR_FILENO);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

}  // namespace

std::optional<fs::path> find_laboratory() {
  for (const fs::path& place : laboratory_places())
    if (::access(place.c_str(), X_OK) == 0) return place;
  return std::nullopt;
}

void start_laboratory(const CommandInfo& command, int argc, char** argv) {
  const auto laboratory = find_laboratory();
  if (!laboratory) {
    const auto places = laboratory_places();
    fail(ErrorCode::kNotFound,
         "`talpa {}` is carried out by talpa-lab, which needs libtorch and is neither {} nor {}; "
         "build it with TALPA_BUILD_LABORATORY=ON (scripts/bootstrap fetches libtorch) and install "
         "it there",
         command.name, places[0].string(), places[1].string());
  }
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  // An error is one line: without c10d's traces of its own stack.
  ::setenv("TORCH_CPP_LOG_LEVEL", "ERROR", 0);
  if (const std::string threads = threads_argument(argc, argv); !threads.empty())
    ::setenv("OMP_NUM_THREADS", threads.c_str(), 1);
  ::execv(laboratory->c_str(), argv);
  fail(ErrorCode::kIo, "cannot start {}: {}", laboratory->string(), std::strerror(errno));
}

std::optional<std::string> output_of(const fs::path& program,
                                     const std::vector<std::string>& arguments, int seconds) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return std::nullopt;
  const pid_t child = ::fork();
  if (child == 0) run_child(program, arguments, pipe_ends[1]);
  ::close(pipe_ends[1]);
  std::string text;
  const bool whole = child > 0 && drain(pipe_ends[0], seconds, text);
  ::close(pipe_ends[0]);
  if (child <= 0) return std::nullopt;
  if (!whole) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!whole || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return text;
}

}  // namespace talpa::cli
