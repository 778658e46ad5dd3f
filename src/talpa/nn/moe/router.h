#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/moe/row_map.h"
#include "talpa/route/plan.h"

namespace talpa::nn {

/// One layer's routing of T rows to K of N experts each: the plan, which is not differentiable,
/// and the weights, which are. S = T * K slots, sorted by expert.
struct Routing {
  DispatchPlan plan;
  std::vector<std::int64_t> offsets;  ///< [N + 1] slots of each expert
  RowMap slots;                       ///< slot -> row
  at::Tensor logits_TN;               ///< fp32 or wider
  at::Tensor probs_TN;                ///< softmax over all experts
  at::Tensor weight_S;                ///< combine weight of each slot, fp32 or wider
};

/// Logits in fp32 or wider, whatever the type of x [T, n] and router [N, n].
at::Tensor router_logits(const at::Tensor& x_TD, const at::Tensor& router_ND);

/// Softmax over all experts, the top_k highest (talpa::route decides), their probabilities as
/// weights, renormalised if the description says so. With a bias [N] the top_k highest of
/// probability + bias are chosen. Logits that are not finite throw, or, in training, where the
/// loss shows them and the trainer decides, are routed as if they were.
Routing route_rows(const at::Tensor& logits_TN, const MoeConfig& config,
                   const at::Tensor& selection_bias_N = {}, bool training = false);

}  // namespace talpa::nn
