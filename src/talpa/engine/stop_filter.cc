#include "talpa/engine/stop_filter.h"

#include <algorithm>
#include <utility>

#include "talpa/base/error.h"

namespace talpa {

StopFilter::StopFilter(std::vector<std::string> stop) : stop_(std::move(stop)) {
  for (const std::string& s : stop_)
    if (s.empty()) fail(ErrorCode::kConfig, "stop: a stop string must not be empty");
}

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  pending_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& s : stop_) first = std::min(first, pending_.find(s));
  if (first != std::string::npos) {
    stopped_ = true;
    pending_.resize(first);
    return std::exchange(pending_, {});
  }
  const std::size_t keep = held_back();
  std::string certain = pending_.substr(0, pending_.size() - keep);
  pending_.erase(0, certain.size());
  return certain;
}

std::size_t StopFilter::held_back() const {
  std::size_t longest = 0;
  for (const std::string& s : stop_)
    for (std::size_t n = std::min(s.size() - 1, pending_.size()); n > longest; --n)
      if (pending_.ends_with(std::string_view(s).substr(0, n))) longest = n;
  return longest;
}

std::string StopFilter::finish() { return std::exchange(pending_, {}); }

}  // namespace talpa
