#include "talpa/engine/expert_cache.h"

#include "talpa/base/error.h"

namespace talpa {

ExpertCache::Lease::Lease(ExpertCache& cache, int layer, const ExpertWeights& rest,
                          const MixedExperts& factors, const DispatchPlan& plan, ThreadPool& pool)
    : cache_(cache), layer_(layer), weights_(rest) {
  TALPA_CHECK(plan.num_slots() > 0);
  const std::lock_guard lock(cache.mutex_);
  std::vector<int> missing;
  for (int e = 0; e < plan.num_experts; ++e)
    if (plan.count(e) > 0) (cache.pin({layer, e}) ? pinned_ : missing).push_back(e);
  try {
    cache.make_room(missing.size() * factors.formed_bytes());
    std::vector<FormedExpert> formed = cache.form(missing, factors, plan.top_k, pool);
    for (std::size_t i = 0; i < missing.size(); ++i) {
      cache.add({layer, missing[i]}, std::move(formed[i]));
      pinned_.push_back(missing[i]);
    }
    fill(plan);
  } catch (...) {
    cache.unpin(layer_, pinned_);
    throw;
  }
}

ExpertCache::Lease::~Lease() {
  const std::lock_guard lock(cache_.mutex_);
  cache_.unpin(layer_, pinned_);
}

void ExpertCache::Lease::fill(const DispatchPlan& plan) {
  auto fill_stack = [&](std::vector<PackedMatrix>& stack, PackedMatrix FormedExpert::*matrix) {
    const PackedMatrix& some = cache_.entries_.at({layer_, pinned_.front()}).expert.*matrix;
    if (some.empty()) return;
    stack.assign(static_cast<std::size_t>(plan.num_experts), some);
    for (const int e : pinned_) stack[e] = cache_.entries_.at({layer_, e}).expert.*matrix;
  };
  fill_stack(weights_.gate, &FormedExpert::gate);
  fill_stack(weights_.up, &FormedExpert::up);
  fill_stack(weights_.down, &FormedExpert::down);
}

ExpertCacheStats ExpertCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

std::vector<FormedExpert> ExpertCache::form(const std::vector<int>& experts,
                                            const MixedExperts& factors, int top_k,
                                            ThreadPool& pool) {
  if (experts.size() <= static_cast<std::size_t>(top_k))
    return factors.form(experts, scratch_, pool);
  FormingScratch large;
  return factors.form(experts, large, pool);
}

bool ExpertCache::pin(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  ++stats_.hits;
  ++found->second.pins;
  by_use_.splice(by_use_.begin(), by_use_, found->second.place);
  return true;
}

void ExpertCache::add(const Key& key, FormedExpert expert) {
  ++stats_.misses;
  stats_.bytes_formed += expert.bytes();
  stats_.bytes += expert.bytes();
  by_use_.push_front(key);
  entries_[key] = {std::move(expert), by_use_.begin(), 1};
}

void ExpertCache::unpin(int layer, const std::vector<int>& experts) {
  for (const int e : experts) --entries_.at({layer, e}).pins;
  make_room(0);
}

void ExpertCache::make_room(std::uint64_t bytes) {
  auto place = by_use_.end();
  while (place != by_use_.begin() && stats_.bytes + bytes > stats_.capacity) {
    const auto found = entries_.find(*--place);
    if (found->second.pins > 0) continue;
    ++stats_.evictions;
    stats_.bytes -= found->second.expert.bytes();
    entries_.erase(found);
    place = by_use_.erase(place);
  }
}

}  // namespace talpa
