// T rows in B parts, N experts.
#include "talpa/nn/moe/losses.h"

#include <torch/torch.h>

namespace talpa::nn {

at::Tensor balance_loss(const at::Tensor& probs_TN, const at::Tensor& counts_BN) {
  const at::Tensor counts = counts_BN.to(probs_TN.options());
  const at::Tensor share_BN = counts / counts.sum(1, /*keepdim=*/true);
  const at::Tensor mean_BN = probs_TN.unflatten(0, {counts.size(0), -1}).mean(1);
  return (share_BN * mean_BN).sum(1).mean() * static_cast<double>(counts.size(1));
}

at::Tensor router_z_loss(const at::Tensor& logits_TN) {
  return at::logsumexp(logits_TN, 1).square().mean();
}

}  // namespace talpa::nn
