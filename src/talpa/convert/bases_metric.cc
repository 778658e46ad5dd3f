// N experts, M expert width, D model width.
#include "talpa/convert/bases_metric.h"

#include <torch/torch.h>

#include <numeric>

#include "talpa/convert/metric.h"

namespace talpa::convert {

namespace {

constexpr double kRidge = 0.1;

at::Tensor with_ridge(at::Tensor moment) {
  moment = moment.clone();
  at::Tensor diagonal = moment.diagonal();
  diagonal.add_(diagonal.mean() * kRidge);
  return moment;
}

/// Moments of all experts, [N, X, X], in fp32, scaled to a mean size of one.
template <class Moment>
at::Tensor stacked(std::int64_t experts, Moment moment) {
  at::Tensor first = moment(std::int64_t{0});
  at::Tensor all = torch::empty({experts, first.size(0), first.size(0)}, torch::kFloat);
  double size = 0;
  for (std::int64_t e = 0; e < experts; ++e)
    size += moment(e).diagonal().mean().template item<double>();
  size /= static_cast<double>(experts);
  for (std::int64_t e = 0; e < experts; ++e) all[e].copy_(with_ridge(moment(e)) / size);
  return all;
}

}  // namespace

BasesMetric bases_metric(Side side, const LayerStatistics& statistics) {
  const torch::NoGradGuard no_grad;
  const Metric metric(statistics);
  const std::int64_t experts = statistics.num_experts();
  BasesMetric result;
  if (side == Side::kDown) {
    result.over_rows = stacked(experts, [&](std::int64_t e) { return metric.hidden(e); });
    if (!statistics.has_full_hidden())
      result.over_rows = result.over_rows.diagonal(0, 1, 2).contiguous();
    return result;
  }
  if (metric.has_expert_inputs()) {
    result.over_columns = stacked(experts, [&](std::int64_t e) { return metric.input(e); });
    return result;
  }
  std::vector<std::int64_t> all(static_cast<std::size_t>(experts));
  std::iota(all.begin(), all.end(), 0);
  const at::Tensor sum = metric.input(all);
  result.over_columns = (with_ridge(sum) / sum.diagonal().mean()).to(torch::kFloat).unsqueeze(0);
  result.weight_N = torch::empty({experts}, torch::kFloat);
  for (const std::int64_t e : all)
    result.weight_N[e] =
        (metric.input(e).trace() / sum.trace()).item<double>() * static_cast<double>(experts);
  return result;
}

}  // namespace talpa::convert
