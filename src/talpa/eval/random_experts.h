#pragma once

#include <cstdint>
#include <vector>

#include "talpa/kernel/experts.h"
#include "talpa/model/decoder_config.h"
#include "talpa/route/plan.h"

namespace talpa {

/// What run_experts has to do for a plan: bytes of the experts that have rows and of the latent
/// projections of their groups, and multiply-adds.
struct ExpertWork {
  double bytes = 0;
  double macs = 0;
};
ExpertWork expert_work(const ExpertWeights& weights, const DispatchPlan& plan);

/// A plan for rows that choose top_k experts uniformly and independently.
DispatchPlan uniform_plan(const MoeConfig& moe, int rows, std::uint64_t seed);

/// Experts and latent projections with random weights, of which layers are put together in turn:
/// each layer's plan hits those that were not used for longest, as it would in a model of many
/// layers, so that none is found in a cache if there are enough of them.
class RandomExperts {
 public:
  /// `config` with experts, dense or latent but not mixed; counts at least 1.
  RandomExperts(const DecoderConfig& config, DType held, int num_experts, int num_groups,
                ThreadPool& pool);

  std::uint64_t bytes() const { return pool_.bytes(); }
  /// The weights of the next layer. Experts and groups without rows are some, not to be read.
  ExpertWeights next_layer(const DispatchPlan& plan);

 private:
  MoeConfig moe_;
  ExpertWeights pool_;
  std::vector<std::size_t> order_;  ///< of experts: neighbours in a plan are none in memory
  std::size_t next_expert_ = 0, next_group_ = 0;
};

}  // namespace talpa
