// T rows, N experts.
#include "talpa/nn/moe/losses.h"

#include <torch/torch.h>

#include <numeric>

namespace talpa::nn {

at::Tensor balance_loss(const at::Tensor& probs_TN,
                        const std::vector<std::int64_t>& rows_per_expert) {
  const auto slots =
      std::accumulate(rows_per_expert.begin(), rows_per_expert.end(), std::int64_t{0});
  const auto num_experts = static_cast<double>(rows_per_expert.size());
  const at::Tensor share_N =
      at::tensor(rows_per_expert, at::kLong).to(probs_TN.options()) / static_cast<double>(slots);
  return at::dot(share_N, probs_TN.mean(0)) * num_experts;
}

at::Tensor router_z_loss(const at::Tensor& logits_TN) {
  return at::logsumexp(logits_TN, 1).square().mean();
}

}  // namespace talpa::nn
