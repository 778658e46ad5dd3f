// T rows in B sequences, D model width, N experts.
#include "talpa/nn/moe/moe_layer.h"

#include <torch/torch.h>

#include "talpa/collective/communicator.h"
#include "talpa/nn/feed_forward.h"
#include "talpa/nn/linear.h"
#include "talpa/nn/moe/experts.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/moe/losses.h"
#include "talpa/nn/moe/router.h"

namespace talpa::nn {
namespace {

at::Tensor shared_expert(const at::Tensor& x_TD, const Scope& parameters, bool gated) {
  const at::Tensor y_TD = feed_forward(x_TD, parameters);
  return gated ? y_TD * nn::linear(x_TD, parameters.at("router")).sigmoid() : y_TD;
}

std::vector<std::int64_t> load_of(const DispatchPlan& plan) {
  std::vector<std::int64_t> rows(plan.num_experts);
  for (int e = 0; e < plan.num_experts; ++e) rows[e] = plan.count(e);
  return rows;
}

// Rows that the balance loss counts, [1 or B, N].
at::Tensor counted_rows(const DispatchPlan& plan, const std::vector<std::int64_t>& rows_per_expert,
                        const BalanceOptions& balance) {
  if (balance.scope == BalanceScope::kSequence) {
    const std::int64_t length = plan.num_rows / balance.num_sequences;
    at::Tensor counts_BN = at::zeros({balance.num_sequences, plan.num_experts}, at::kLong);
    auto* counts = counts_BN.data_ptr<std::int64_t>();
    for (std::size_t choice = 0; choice < plan.expert.size(); ++choice)
      ++counts[static_cast<std::int64_t>(choice) / plan.top_k / length * plan.num_experts +
               plan.expert[choice]];
    return counts_BN;
  }
  at::Tensor counts_N = at::tensor(rows_per_expert, at::kLong);
  if (balance.scope == BalanceScope::kGlobalBatch && !balance.earlier_rows.empty())
    counts_N += at::tensor(balance.earlier_rows, at::kLong);
  return counts_N.unsqueeze(0);
}

}  // namespace

MoeOutput moe_layer(const at::Tensor& x_TD, const Scope& layer, const MoeConfig& config,
                    const BalanceOptions& balance, ExpertRanks* experts) {
  const Scope moe = layer.in("moe");
  const at::Tensor logits_TN = router_logits(x_TD, moe.at("router"));
  // Layers that run again for the gradient run the first time without one.
  const bool training = moe.at("router").requires_grad();
  const Routing routing = route_rows(logits_TN, config, moe.find("router_bias"), training);
  MoeOutput output;
  output.y_TD = config.latent.enabled() ? latent_experts(x_TD, routing, moe, config.latent, experts)
                                        : dense_experts(x_TD, routing, moe, experts);
  if (config.shared_hidden_dim > 0)
    output.y_TD = output.y_TD + shared_expert(x_TD, layer.in("shared"), config.shared_gate);
  output.rows_per_expert = load_of(routing.plan);
  if (balance.ranks != nullptr) balance.ranks->sum(output.rows_per_expert);
  output.balance_loss =
      balance_loss(routing.probs_TN, counted_rows(routing.plan, output.rows_per_expert, balance));
  if (balance.quantile_shift)
    output.bias_shift_N = quantile_shift(
        balance.ranks == nullptr ? routing.probs_TN : balance.ranks->gather_rows(routing.probs_TN),
        moe.at("router_bias"), config.top_k);
  output.z_loss = router_z_loss(logits_TN);
  return output;
}

}  // namespace talpa::nn
