// T rows, D model width, N experts, K choices a row, S = T * K slots.
#include "talpa/nn/moe/router.h"

#include <torch/torch.h>

#include "talpa/nn/linear.h"
#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

std::span<const float> floats_of(const at::Tensor& values) {
  if (!values.defined()) return {};
  return {values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

at::Tensor for_planning(const at::Tensor& values) {
  return values.defined() ? values.detach().to(at::kCPU, at::kFloat).contiguous() : values;
}

DispatchPlan plan_of(const at::Tensor& logits_TN, const MoeConfig& config,
                     const at::Tensor& selection_bias_N, bool training) {
  at::Tensor logits = for_planning(logits_TN);
  if (training) logits = logits.nan_to_num();
  const at::Tensor bias = for_planning(selection_bias_N);
  return route(floats_of(logits), {.num_experts = config.num_experts,
                                   .top_k = config.top_k,
                                   .normalize = config.normalize_top_k,
                                   .selection_bias = floats_of(bias)});
}

at::Tensor weights_of(const Routing& routing, const MoeConfig& config) {
  const auto& plan = routing.plan;
  at::Tensor expert_TK = at::empty({plan.num_rows, plan.top_k}, at::kLong);
  std::copy(plan.expert.begin(), plan.expert.end(), expert_TK.data_ptr<std::int64_t>());
  at::Tensor weight_TK = routing.probs_TN.gather(1, expert_TK.to(routing.probs_TN.device()));
  if (config.normalize_top_k) weight_TK = weight_TK / weight_TK.sum(1, true);
  std::vector<std::int32_t> choice_S(plan.slot.size());
  for (std::size_t choice = 0; choice < plan.slot.size(); ++choice)
    choice_S[plan.slot[choice]] = static_cast<std::int32_t>(choice);
  const RowMap by_slot(choice_S, static_cast<std::int64_t>(choice_S.size()));
  return gather_rows(weight_TK.view({-1, 1}), by_slot).squeeze(1);
}

}  // namespace

at::Tensor router_logits(const at::Tensor& x_TD, const at::Tensor& router_ND) {
  return nn::linear(widen(x_TD), widen(router_ND));
}

Routing route_rows(const at::Tensor& logits_TN, const MoeConfig& config,
                   const at::Tensor& selection_bias_N, bool training) {
  Routing routing;
  routing.plan = plan_of(logits_TN, config, selection_bias_N, training);
  routing.offsets.assign(routing.plan.offsets.begin(), routing.plan.offsets.end());
  routing.slots = RowMap(routing.plan.row, routing.plan.num_rows);
  routing.logits_TN = logits_TN;
  routing.probs_TN = logits_TN.softmax(1);
  routing.weight_S = weights_of(routing, config);
  return routing;
}

}  // namespace talpa::nn
