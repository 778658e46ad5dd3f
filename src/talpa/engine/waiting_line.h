#pragma once

#include <deque>
#include <list>
#include <optional>

#include "talpa/engine/sequence.h"

namespace talpa {

/// Requests that wait, those submitted together one behind the other; the groups take turns.
class WaitingLine {
 public:
  std::size_t size() const { return size_; }
  void add(std::deque<PendingCompletion> group) {
    size_ += group.size();
    if (!group.empty()) groups_.push_back(std::move(group));
  }
  std::optional<PendingCompletion> take() {
    if (groups_.empty()) return std::nullopt;
    std::deque<PendingCompletion> group = std::move(groups_.front());
    groups_.pop_front();
    PendingCompletion first = std::move(group.front());
    group.pop_front();
    --size_;
    if (!group.empty()) groups_.push_back(std::move(group));
    return first;
  }
  /// Drops what nobody waits for any more.
  void drop_cancelled() {
    for (auto& group : groups_)
      size_ -= std::erase_if(group,
                             [](const PendingCompletion& p) { return p.completions->cancelled(); });
    std::erase_if(groups_, [](const auto& group) { return group.empty(); });
  }

 private:
  std::list<std::deque<PendingCompletion>> groups_;
  std::size_t size_ = 0;
};

}  // namespace talpa
