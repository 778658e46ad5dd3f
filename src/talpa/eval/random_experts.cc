#include "talpa/eval/random_experts.h"

#include <numeric>

#include "talpa/base/error.h"
#include "talpa/base/random.h"
#include "talpa/eval/random_weights.h"
#include "talpa/route/groups.h"

namespace talpa {

namespace {

double product_macs(const PackedMatrix& matrix) {
  return static_cast<double>(matrix.rows()) * static_cast<double>(matrix.columns());
}

void add_matrix(ExpertWork& work, const PackedMatrix& matrix, int rows) {
  if (rows == 0) return;
  work.bytes += static_cast<double>(matrix.bytes());
  work.macs += rows * product_macs(matrix);
}

class StackMaker {
 public:
  StackMaker(DType held, ThreadPool& pool) : held_(held), pool_(pool) {}

  std::vector<PackedMatrix> operator()(int count, std::int64_t rows, std::int64_t columns) {
    return pack_stack(random_rows(count * rows, columns, ++seed_), count, held_, pool_);
  }

 private:
  DType held_;
  ThreadPool& pool_;
  std::uint64_t seed_ = 0;
};

}  // namespace

ExpertWork expert_work(const ExpertWeights& weights, const DispatchPlan& plan) {
  ExpertWork work;
  for (int e = 0; e < plan.num_experts; ++e)
    for (const auto* stack : {&weights.gate, &weights.up, &weights.down})
      add_matrix(work, (*stack)[e], plan.count(e));
  if (weights.gate_in.empty() && weights.up_in.empty() && weights.down_out.empty()) return work;
  const GroupPlan groups = group_rows(plan, weights.group_size);
  for (const auto* stack : {&weights.gate_in, &weights.up_in, &weights.down_out})
    for (std::size_t g = 0; g < stack->size(); ++g)
      add_matrix(work, (*stack)[g], groups.offsets[g + 1] - groups.offsets[g]);
  return work;
}

DispatchPlan uniform_plan(const MoeConfig& moe, int rows, std::uint64_t seed) {
  Random random(seed, "routing");
  std::vector<float> logits(static_cast<std::size_t>(rows) *
                            static_cast<std::size_t>(moe.num_experts));
  for (float& logit : logits) logit = static_cast<float>(random.uniform());
  return route(logits, {.num_experts = moe.num_experts, .top_k = moe.top_k});
}

RandomExperts::RandomExperts(const DecoderConfig& config, DType held, int num_experts,
                             int num_groups, ThreadPool& pool)
    : moe_(config.moe) {
  const LatentConfig& latent = moe_.latent;
  TALPA_CHECK(num_experts > 0 && !latent.mixed);
  const bool on = latent.enabled();
  const std::int64_t width = moe_.hidden_dim, dim = config.dim;
  const std::int64_t narrow = latent.input_size().width, out = latent.output_size().width;
  StackMaker stack(held, pool);
  pool_.group_size = config.group_size();
  pool_.share_gate_up = on && latent.share_gate_up_latent;
  pool_.gate = stack(num_experts, width, on && latent.factor_gate ? narrow : dim);
  pool_.up = stack(num_experts, width, on && latent.factor_up ? narrow : dim);
  pool_.down = stack(num_experts, on && latent.factor_down ? out : dim, width);
  if (on && latent.factor_gate) pool_.gate_in = stack(num_groups, narrow, dim);
  if (on && latent.factor_up && !pool_.share_gate_up) pool_.up_in = stack(num_groups, narrow, dim);
  if (on && latent.factor_down) pool_.down_out = stack(num_groups, dim, out);
  order_.resize(static_cast<std::size_t>(num_experts));
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  Random random(1, "order of experts");
  for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
}

ExpertWeights RandomExperts::next_layer(const DispatchPlan& plan) {
  const auto num_experts = static_cast<std::size_t>(moe_.num_experts);
  ExpertWeights layer;
  layer.group_size = pool_.group_size;
  layer.share_gate_up = pool_.share_gate_up;
  using Stack = std::vector<PackedMatrix> ExpertWeights::*;
  constexpr Stack kOwn[] = {&ExpertWeights::gate, &ExpertWeights::up, &ExpertWeights::down};
  constexpr Stack kShared[] = {&ExpertWeights::gate_in, &ExpertWeights::up_in,
                               &ExpertWeights::down_out};
  for (const Stack stack : kOwn) (layer.*stack).assign(num_experts, (pool_.*stack).front());
  std::vector<bool> hit(num_experts / static_cast<std::size_t>(pool_.group_size));
  for (std::size_t e = 0; e < num_experts; ++e) {
    if (plan.count(static_cast<int>(e)) == 0) continue;
    hit[e / static_cast<std::size_t>(pool_.group_size)] = true;
    const std::size_t taken = order_[next_expert_++ % order_.size()];
    for (const Stack stack : kOwn) (layer.*stack)[e] = (pool_.*stack)[taken];
  }
  for (const Stack stack : kShared)
    if (!(pool_.*stack).empty()) (layer.*stack).assign(hit.size(), (pool_.*stack).front());
  for (std::size_t g = 0; g < hit.size(); ++g) {
    if (!hit[g]) continue;
    const std::size_t taken = next_group_++;
    for (const Stack stack : kShared)
      if (const auto& shared = pool_.*stack; !shared.empty())
        (layer.*stack)[g] = shared[taken % shared.size()];
  }
  return layer;
}

}  // namespace talpa
