#include "talpa/cli/process_group.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "talpa/base/error.h"
#include "talpa/base/processors.h"

namespace talpa::cli {

namespace {

constexpr std::chrono::seconds kGrace{10};
volatile std::sig_atomic_t signal_to_forward = 0;

void remember_signal(int signal) { signal_to_forward = signal; }

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool found = socket >= 0 &&
                     ::bind(socket, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  if (socket >= 0) ::close(socket);
  if (!found) fail(ErrorCode::kIo, "no free port: {}", std::strerror(errno));
  return ntohs(address.sin_port);
}

struct Child {
  pid_t pid = 0;
  int output = -1;   ///< its standard error, where that is not this process'
  std::string line;  ///< what of it is no whole line yet
  bool running = true;
  int status = 0;
};

bool ended_well(const Child& child) {
  return WIFEXITED(child.status) && !WEXITSTATUS(child.status);
}

class ProcessGroup {
 public:
  ProcessGroup(int size, const std::vector<std::string>& command) : children_(size) {
    const int port = free_port();
    const int cores = std::max(1, available_cores() / size);
    for (int rank = 0; rank < size; ++rank) start(rank, command, port, cores);
  }

  /// Until all have ended; the rank of the first that ended badly.
  std::optional<int> wait() {
    while (num_running() > 0) {
      forward_signal();
      read_outputs();
      collect();
      if (failed_ && std::chrono::steady_clock::now() > end_) kill_all(SIGKILL);
    }
    read_outputs();
    return failed_;
  }

  const Child& child(int rank) const { return children_[static_cast<std::size_t>(rank)]; }

 private:
  void start(int rank, const std::vector<std::string>& command, int port, int cores) {
    Child& child = children_[static_cast<std::size_t>(rank)];
    int ends[2] = {-1, -1};
    if (rank > 0 && ::pipe2(ends, O_CLOEXEC) != 0)
      fail(ErrorCode::kIo, "cannot make a pipe: {}", std::strerror(errno));
    child.pid = ::fork();
    if (child.pid < 0) {
      kill_all(SIGKILL);
      fail(ErrorCode::kIo, "cannot start a process: {}", std::strerror(errno));
    }
    if (child.pid == 0) become(rank, command, port, cores, ends[1]);
    if (rank == 0) return;
    ::close(ends[1]);
    child.output = ends[0];
    ::fcntl(child.output, F_SETFL, O_NONBLOCK);
  }

  [[noreturn]] void become(int rank, const std::vector<std::string>& command, int port, int cores,
                           int error_output) {
    // A group of its own: the terminal's Ctrl-C comes once, through this process.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const auto set = [](const char* name, int value, int overwrite = 1) {
      ::setenv(name, std::to_string(value).c_str(), overwrite);
    };
    const int size = static_cast<int>(children_.size());
    set("RANK", rank);
    set("LOCAL_RANK", rank);
    set("WORLD_SIZE", size);
    set("LOCAL_WORLD_SIZE", size);
    set("MASTER_PORT", port);
    set("OMP_NUM_THREADS", cores, 0);
    ::setenv("MASTER_ADDR", "127.0.0.1", 1);
    if (rank > 0) {
      ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
      ::dup2(error_output, STDERR_FILENO);
    }
    std::vector<char*> argv{const_cast<char*>("talpa")};
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }

  int num_running() const {
    int running = 0;
    for (const Child& child : children_) running += child.running ? 1 : 0;
    return running;
  }

  void kill_all(int signal) {
    for (const Child& child : children_)
      if (child.running && child.pid > 0) ::kill(child.pid, signal);
  }

  void forward_signal() {
    if (signal_to_forward == 0) return;
    kill_all(signal_to_forward);
    signal_to_forward = 0;
  }

  void read_outputs() {
    std::vector<pollfd> waiting;
    for (const Child& child : children_)
      if (child.output >= 0) waiting.push_back({child.output, POLLIN, 0});
    ::poll(waiting.data(), waiting.size(), 100);
    for (std::size_t rank = 0; rank < children_.size(); ++rank)
      if (children_[rank].output >= 0) pass_on(rank);
  }

  void pass_on(std::size_t rank) {
    Child& child = children_[rank];
    char buffer[4096];
    ssize_t n = 0;
    while ((n = ::read(child.output, buffer, sizeof buffer)) > 0)
      child.line.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end = 0; (end = child.line.find('\n')) != std::string::npos;
         child.line.erase(0, end + 1))
      fmt::print(stderr, "rank {}: {}\n", rank, child.line.substr(0, end));
    if (n == 0) {
      if (!child.line.empty()) fmt::print(stderr, "rank {}: {}\n", rank, child.line);
      ::close(child.output);
      child.output = -1;
    }
  }

  void collect() {
    for (std::size_t rank = 0; rank < children_.size(); ++rank) {
      Child& child = children_[rank];
      if (!child.running || ::waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
      child.running = false;
      if (!ended_well(child)) note_failure(static_cast<int>(rank));
    }
  }

  /// Ranks that lose a peer end within moments of it, and may be seen first: one that a signal
  /// killed is the cause.
  void note_failure(int rank) {
    const auto now = std::chrono::steady_clock::now();
    const bool is_cause = failed_ && now <= end_ && WIFSIGNALED(child(rank).status) &&
                          !WIFSIGNALED(child(*failed_).status);
    if (!failed_) end_ = now + kGrace;
    if (!failed_ || is_cause) failed_ = rank;
  }

  std::vector<Child> children_;
  std::optional<int> failed_;
  std::chrono::steady_clock::time_point end_;
};

}  // namespace

void run_process_group(int size, const std::vector<std::string>& command) {
  struct sigaction action {};
  action.sa_handler = remember_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  ProcessGroup group(size, command);
  const auto failed = group.wait();
  if (!failed) return;
  const Child& child = group.child(*failed);
  if (WIFSIGNALED(child.status))
    fail(ErrorCode::kIo, "rank {} (pid {}) of {} was killed by signal {} ({}); all others ended",
         *failed, child.pid, size, WTERMSIG(child.status), strsignal(WTERMSIG(child.status)));
  const int status = WEXITSTATUS(child.status);
  if (status == exit_status(ErrorCode::kInterrupted))
    fail(ErrorCode::kInterrupted, "all {} processes stopped", size);
  fail(status == exit_status(ErrorCode::kUsage) ? ErrorCode::kUsage : ErrorCode::kIo,
       "rank {} (pid {}) of {} ended with status {}; all others ended", *failed, child.pid, size,
       status);
}

}  // namespace talpa::cli
