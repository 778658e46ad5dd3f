// T rows, N experts, K choices a row.
#include "talpa/nn/moe/balance.h"

#include <torch/torch.h>

#include <numeric>

namespace talpa::nn {

at::Tensor quantile_shift(const at::Tensor& scores_TN, const at::Tensor& bias_N, int top_k) {
  const torch::NoGradGuard no_grad;
  const std::int64_t num_rows = scores_TN.size(0), num_experts = scores_TN.size(1);
  if (top_k >= num_experts) return at::zeros_like(bias_N);
  const at::Tensor biased_TN = scores_TN.detach() + bias_N;
  const at::Tensor threshold_T1 = std::get<0>(biased_TN.topk(top_k + 1, 1)).narrow(1, top_k, 1);
  const std::int64_t share = top_k * num_rows / num_experts;
  // kthvalue counts from the smallest.
  return std::get<0>(at::kthvalue(biased_TN - threshold_T1, num_rows - share, 0));
}

void step_bias_by_sign(at::Tensor& bias_N, const std::vector<std::int64_t>& rows_per_expert,
                       double rate) {
  const torch::NoGradGuard no_grad;
  const auto total =
      std::accumulate(rows_per_expert.begin(), rows_per_expert.end(), std::int64_t{0});
  const at::Tensor load_N = at::tensor(rows_per_expert, at::kDouble);
  const double mean = static_cast<double>(total) / static_cast<double>(rows_per_expert.size());
  bias_N.add_((mean - load_N).sign().to(bias_N.options()), rate);
}

void step_bias_by_shift(at::Tensor& bias_N, const at::Tensor& shift_N, double rate) {
  const torch::NoGradGuard no_grad;
  bias_N.sub_(shift_N, rate);
  bias_N.sub_(bias_N.mean());
}

}  // namespace talpa::nn
