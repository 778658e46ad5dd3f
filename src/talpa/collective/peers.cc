#include "talpa/collective/peers.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "talpa/base/config.h"
#include "talpa/base/error.h"

namespace talpa::collective {

namespace {

using std::chrono::milliseconds;
constexpr milliseconds kBeat{500};
constexpr double kSilence = 6;
constexpr std::chrono::seconds kDiagnosis{10};

constexpr const char* kFailure = "failure";
std::string peer_key(int rank) { return fmt::format("peer/{}", rank); }
std::string beat_key(int rank) { return fmt::format("beat/{}", rank); }
std::string seen_key(int rank) { return fmt::format("seen/{}", rank); }

std::vector<std::uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<std::uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

/// Name of this host, and after a space what else decides whether a number means the same process.
std::string own_host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(in, boot);
  std::error_code error;
  const auto space = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  return fmt::format("{} {} {}", name, boot, space.string());
}

constexpr const char* kNoAnswer = "was lost (its store does not answer)";

}  // namespace

Peers::Peers(const Connect& connect, int rank, int size, int seconds)
    : rank_(rank), host_(own_host()), store_(connect()), peers_(static_cast<std::size_t>(size)) {
  store_->set(peer_key(rank), bytes_of(Json{{"host", host_}, {"pid", ::getpid()}}.dump()));
  store_->add(beat_key(rank), 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (int r = 0; r < size; ++r) {
    while (!store_->check({peer_key(r), beat_key(r)})) {
      if (std::chrono::steady_clock::now() > end)
        fail(ErrorCode::kIo, "rank {} of {} did not come within {} seconds", r, size, seconds);
      std::this_thread::sleep_for(milliseconds(20));
    }
    const Json peer = Json::parse(text_of(store_->get(peer_key(r))));
    peers_[static_cast<std::size_t>(r)] = {peer.at("host"), peer.at("pid")};
  }
  last_answer_ = std::chrono::steady_clock::now();
  thread_ = std::thread([this] { beat(); });
}

void Peers::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::optional<std::string> Peers::lost() const {
  const std::lock_guard lock(mutex_);
  const std::chrono::duration<double> unanswered = std::chrono::steady_clock::now() - last_answer_;
  if (!lost_ && rank_ != 0 && !stop_ && unanswered.count() > kSilence)
    return fmt::format("{} {}", name_of(0), kNoAnswer);
  return lost_;
}

std::optional<std::string> Peers::diagnose() const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kDiagnosis, [this] { return lost_.has_value(); });
  return lost_;
}

void Peers::announce_failure(const std::string& reason) noexcept {
  try {
    const auto known = lost();
    if (known && known->ends_with(kNoAnswer)) return;
    {
      const std::lock_guard lock(store_mutex_);
      store_->compareSet(
          kFailure, {},
          bytes_of(known ? *known : fmt::format("{} ended: {}", name_of(rank_), reason)));
    }
    if (rank_ != 0) return;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    for (int r = 1; r < size() && std::chrono::steady_clock::now() < end;) {
      std::unique_lock lock(store_mutex_);
      const bool seen = store_->check({seen_key(r)});
      lock.unlock();
      if (seen || has_ended(peers_[static_cast<std::size_t>(r)]))
        ++r;
      else
        std::this_thread::sleep_for(milliseconds(20));
    }
  } catch (const std::exception&) {
    // The store is gone with the process that held it: nobody is left to tell.
  }
}

std::string Peers::name_of(int peer) const {
  const Peer& p = peers_[static_cast<std::size_t>(peer)];
  return fmt::format("rank {} (pid {}{}) of {}", peer, p.pid,
                     p.host == host_ ? "" : " on " + p.host.substr(0, p.host.find(' ')), size());
}

// Gone, or a zombie that its launcher has not looked at yet.
bool Peers::has_ended(const Peer& peer) const {
  if (peer.host != host_) return false;
  std::ifstream in(fmt::format("/proc/{}/stat", peer.pid));
  std::string stat;
  if (!std::getline(in, stat)) return true;
  const auto state = stat.rfind(')') + 2;
  return state < stat.size() && (stat[state] == 'Z' || stat[state] == 'X');
}

void Peers::mark_lost(int peer, const std::string& how) {
  {
    const std::lock_guard lock(mutex_);
    if (lost_) return;
    lost_ = name_of(peer) + " " + how;
  }
  changed_.notify_all();
}

void Peers::look(std::vector<std::int64_t>& beats, std::vector<double>& silent, double seconds) {
  const std::lock_guard lock(store_mutex_);
  store_->add(beat_key(rank_), 1);
  if (store_->check({kFailure})) {
    const std::string failure = text_of(store_->get(kFailure));
    const std::lock_guard state(mutex_);
    if (!lost_) lost_ = failure;
  }
  for (int r = 0; r < size() && !lost(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    const std::int64_t now = store_->add(beat_key(r), 0);
    silent[i] = now == beats[i] ? silent[i] + seconds : 0;
    beats[i] = now;
    if (r == rank_) continue;
    if (has_ended(peers_[i]))
      mark_lost(r, "was lost");
    else if (silent[i] > kSilence)
      mark_lost(r, fmt::format("was lost (silent for {:.0f} s)", silent[i]));
    if (lost()) store_->compareSet(kFailure, {}, bytes_of(*lost()));
  }
  if (lost()) store_->set(seen_key(rank_), bytes_of("1"));
}

void Peers::beat() {
  std::vector<std::int64_t> beats(peers_.size(), 0);
  std::vector<double> silent(peers_.size(), 0);
  auto last = std::chrono::steady_clock::now();
  while (true) {
    const auto now = std::chrono::steady_clock::now();
    // What this process slept through, stopped or starved, is no silence of the others.
    const double seconds = std::min(std::chrono::duration<double>(now - last).count(), 1.0);
    last = now;
    try {
      look(beats, silent, seconds);
      const std::lock_guard lock(mutex_);
      last_answer_ = std::chrono::steady_clock::now();
    } catch (const std::exception&) {
      mark_lost(0, kNoAnswer);
    }
    changed_.notify_all();
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kBeat, [this] { return stop_ || lost_.has_value(); })) return;
  }
}

}  // namespace talpa::collective
