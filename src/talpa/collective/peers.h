#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace talpa::collective {

/// Who the other processes of a job are and whether they live. A thread of its own beats in the
/// store every half second, and takes for lost whose beat has stopped for six, whose process
/// (of this host) has ended, or all of rank 0's where the store does not answer: it lives there.
class Peers {
 public:
  using Connect = std::function<c10::intrusive_ptr<c10d::Store>()>;

  /// Makes this process known and learns of all others; `connect` gives a connection of the
  /// thread's own. Throws kIo naming the ranks that do not come within `seconds`.
  Peers(const Connect& connect, int rank, int size, int seconds);
  ~Peers() { stop(); }
  /// Watches no longer.
  void stop();

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(peers_.size()); }

  /// "rank 2 (pid 4711) of 4 was lost", or what it announced; nullopt while all are well.
  std::optional<std::string> lost() const;
  /// What a failed operation means: waits until it is known who was lost, ten seconds at most.
  std::optional<std::string> diagnose() const;
  /// Tells the others that this process ends, and why. Rank 0, whose store they learn it from,
  /// then waits until they have, two seconds at most. Never throws.
  void announce_failure(const std::string& reason) noexcept;

 private:
  struct Peer {
    std::string host;
    int pid = 0;
  };
  void beat();
  void look(std::vector<std::int64_t>& beats, std::vector<double>& silent, double seconds);
  void mark_lost(int peer, const std::string& how);
  bool has_ended(const Peer& peer) const;
  std::string name_of(int peer) const;

  int rank_;
  std::string host_;
  c10::intrusive_ptr<c10d::Store> store_;
  std::vector<Peer> peers_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::optional<std::string> lost_;
  bool stop_ = false;
  std::chrono::steady_clock::time_point last_answer_;
  std::mutex store_mutex_;
  std::thread thread_;
};

}  // namespace talpa::collective
