// T rows, D model width, N experts.
#include "talpa/nn/moe/moe_layer.h"

#include <torch/torch.h>

#include "talpa/nn/feed_forward.h"
#include "talpa/nn/moe/experts.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/moe/losses.h"
#include "talpa/nn/moe/router.h"

namespace talpa::nn {
namespace {

at::Tensor shared_expert(const at::Tensor& x_TD, const Scope& parameters, bool gated) {
  const at::Tensor y_TD = feed_forward(x_TD, parameters);
  return gated ? y_TD * at::linear(x_TD, parameters.at("router")).sigmoid() : y_TD;
}

std::vector<std::int64_t> load_of(const DispatchPlan& plan) {
  std::vector<std::int64_t> rows(plan.num_experts);
  for (int e = 0; e < plan.num_experts; ++e) rows[e] = plan.count(e);
  return rows;
}

}  // namespace

MoeOutput moe_layer(const at::Tensor& x_TD, const Scope& layer, const MoeConfig& config) {
  const Scope moe = layer.in("moe");
  const at::Tensor logits_TN = router_logits(x_TD, moe.at("router"));
  const Routing routing = route_rows(logits_TN, config);
  MoeOutput output;
  output.y_TD = config.latent.enabled() ? latent_experts(x_TD, routing, moe, config.latent)
                                        : dense_experts(x_TD, routing, moe);
  if (config.shared_hidden_dim > 0)
    output.y_TD = output.y_TD + shared_expert(x_TD, layer.in("shared"), config.shared_gate);
  output.rows_per_expert = load_of(routing.plan);
  output.balance_loss = balance_loss(routing.probs_TN, output.rows_per_expert);
  output.z_loss = router_z_loss(logits_TN);
  return output;
}

}  // namespace talpa::nn
