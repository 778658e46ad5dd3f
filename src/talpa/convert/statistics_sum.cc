// T rows of a batch, S rows of an expert, N experts, M expert width, D model width.
#include "talpa/convert/statistics_sum.h"

#include <torch/torch.h>

#include "talpa/convert/eigen.h"

namespace talpa::convert {

namespace {

/// x^T x of weighted rows, fp64.
at::Tensor second_moment(const at::Tensor& x_SD, const at::Tensor& weight_S) {
  const at::Tensor rows = (x_SD * weight_S.unsqueeze(1)).to(solving_type(x_SD.size(1)));
  return rows.t().matmul(rows).to(torch::kDouble);
}

at::Tensor square_sum(const at::Tensor& x, std::int64_t dim) {
  return x.to(torch::kDouble).square().sum(dim);
}

at::Tensor silu_slope(const at::Tensor& x) {
  const at::Tensor gate = x.sigmoid();
  return gate * (1 + x * (1 - gate));
}

}  // namespace

StatisticsSum::StatisticsSum(const MoeConfig& moe, std::int64_t dim, const Options& options)
    : options_(options) {
  const std::int64_t N = moe.num_experts, M = moe.hidden_dim;
  const auto wide = torch::TensorOptions(torch::kDouble);
  sums_.rows_N = torch::zeros({N}, torch::kLong);
  sums_.mass_N = torch::zeros({N}, wide);
  sums_.mass2_N = torch::zeros({N}, wide);
  sums_.output_mass_N = torch::zeros({N}, wide);
  sums_.mean_output_ND = torch::zeros({N, dim}, wide);
  sums_.gate_effect_NM = torch::zeros({N, M}, wide);
  sums_.up_effect_NM = torch::zeros({N, M}, wide);
  sums_.input_moments =
      options.expert_inputs ? torch::zeros({N, dim, dim}, wide) : torch::zeros({dim, dim}, wide);
  sums_.hidden_moments =
      options.full_hidden ? torch::zeros({N, M, M}, wide) : torch::zeros({N, M}, wide);
}

void StatisticsSum::add(const at::Tensor& x_TD, const nn::Routing& routing, const nn::Scope& moe,
                        const at::Tensor& importance_T) {
  const torch::NoGradGuard no_grad;
  sums_.tokens += x_TD.size(0);
  const at::Tensor x_SD = nn::gather_rows(x_TD, routing.slots);
  const at::Tensor importance_S =
      nn::gather_rows(importance_T.unsqueeze(1), routing.slots).squeeze(1);
  for (std::size_t e = 0; e + 1 < routing.offsets.size(); ++e) {
    const std::int64_t first = routing.offsets[e], count = routing.offsets[e + 1] - first;
    if (count == 0) continue;
    add_expert(static_cast<std::int64_t>(e), x_SD.narrow(0, first, count),
               routing.weight_S.narrow(0, first, count).to(x_TD.scalar_type()),
               importance_S.narrow(0, first, count).to(x_TD.scalar_type()), moe);
  }
  add_outputs(x_TD, moe);
}

void StatisticsSum::add_expert(std::int64_t e, const at::Tensor& x_SD, const at::Tensor& plain_S,
                               const at::Tensor& importance_S, const nn::Scope& moe) {
  const at::Tensor weight_S = plain_S * importance_S;
  const at::Tensor gate_SM = at::linear(x_SD, moe.at("gate")[e]);
  const at::Tensor up_SM = at::linear(x_SD, moe.at("up")[e]);
  const at::Tensor active_SM = at::silu(gate_SM), hidden_SM = active_SM * up_SM;
  const at::Tensor& down_DM = moe.at("down")[e];
  const at::Tensor norm_S = at::linear(hidden_SM, down_DM).norm(2, 1);
  sums_.rows_N[e] += x_SD.size(0);
  sums_.mass_N[e] += plain_S.to(torch::kDouble).sum();
  sums_.mass2_N[e] += square_sum(weight_S, 0);
  sums_.output_mass_N[e] += (plain_S * norm_S).to(torch::kDouble).sum();
  const at::Tensor column_M = square_sum(down_DM, 0), weight_S1 = weight_S.unsqueeze(1);
  sums_.gate_effect_NM[e] += square_sum(up_SM * silu_slope(gate_SM) * weight_S1, 0) * column_M;
  sums_.up_effect_NM[e] += square_sum(active_SM * weight_S1, 0) * column_M;
  (options_.expert_inputs ? sums_.input_moments[e] : sums_.input_moments) +=
      second_moment(x_SD, weight_S);
  sums_.hidden_moments[e] += options_.full_hidden ? second_moment(hidden_SM, weight_S)
                                                  : square_sum(hidden_SM * weight_S1, 0);
}

at::Tensor StatisticsSum::output_places(std::int64_t rows) const {
  // Multiples of the golden ratio fall evenly into [0, 1), and keep no step with any window.
  constexpr double kGolden = 0.6180339887498949;
  const auto first = static_cast<double>(sums_.tokens - rows);
  const at::Tensor turn_T = torch::arange(rows, torch::kDouble).add_(first).mul_(kGolden).frac_();
  return turn_T.lt(options_.output_share).nonzero().squeeze(1);
}

void StatisticsSum::add_outputs(const at::Tensor& x_TD, const nn::Scope& moe) {
  const at::Tensor rows_SD = x_TD.index_select(0, output_places(x_TD.size(0)));
  for (std::int64_t e = 0; e < sums_.num_experts(); ++e) {
    const at::Tensor hidden_SM =
        at::silu(at::linear(rows_SD, moe.at("gate")[e])) * at::linear(rows_SD, moe.at("up")[e]);
    // The mean of outputs is the output of the mean.
    const at::Tensor sum_M = hidden_SM.to(torch::kDouble).sum(0);
    sums_.mean_output_ND[e] += moe.at("down")[e].to(torch::kDouble).mv(sum_M);
  }
  output_rows_ += rows_SD.size(0);
}

LayerStatistics StatisticsSum::result() const {
  LayerStatistics result = sums_;
  result.mean_output_ND = sums_.mean_output_ND / std::max<std::int64_t>(output_rows_, 1);
  return result;
}

}  // namespace talpa::convert
