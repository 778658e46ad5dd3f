#pragma once

#include <list>
#include <map>
#include <mutex>

#include "talpa/engine/mixed_experts.h"
#include "talpa/engine/model.h"
#include "talpa/route/plan.h"

namespace talpa {

/// Dense experts formed from factors, those used longest ago given up first. Holds `capacity`
/// bytes of them between layer steps. The experts of a step are pinned until it ends: where they
/// do not fit, the bound is exceeded for that step, by one layer's formed experts at most, rather
/// than working in rounds, which would add up a row's experts in another order. A formed expert
/// depends on its factors only, so results are the same bits whatever is found.
class ExpertCache {
 public:
  explicit ExpertCache(std::uint64_t capacity) { stats_.capacity = capacity; }

  /// Weights of a layer step while it lasts.
  class Lease {
   public:
    /// Forms what the plan, of at least one row, needs and is not held. `rest` are the layer's
    /// matrices that are not factored. Safe from several threads; the pool must be free.
    Lease(ExpertCache& cache, int layer, const ExpertWeights& rest, const MixedExperts& factors,
          const DispatchPlan& plan, ThreadPool& pool);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();

    /// Complete for the plan: experts without rows are some expert's.
    const ExpertWeights& weights() const { return weights_; }

   private:
    void fill(const DispatchPlan& plan);

    ExpertCache& cache_;
    int layer_;
    ExpertWeights weights_;
    std::vector<int> pinned_;
  };

  ExpertCacheStats stats() const;

 private:
  using Key = std::pair<int, int>;  ///< layer, expert
  struct Entry {
    FormedExpert expert;
    std::list<Key>::iterator place;
    int pins = 0;
  };

  std::vector<FormedExpert> form(const std::vector<int>& experts, const MixedExperts& factors,
                                 int top_k, ThreadPool& pool);
  /// Pins an expert and makes it the latest used; false if it is not held.
  bool pin(const Key& key);
  void add(const Key& key, FormedExpert expert);
  void unpin(int layer, const std::vector<int>& experts);
  /// Gives up experts until `bytes` more fit or all that is left is pinned.
  void make_room(std::uint64_t bytes);

  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::list<Key> by_use_;  ///< latest first
  ExpertCacheStats stats_;
  FormingScratch scratch_;  ///< of steps of one row
};

}  // namespace talpa
