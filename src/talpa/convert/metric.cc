// N experts, M expert width, D model width.
#include "talpa/convert/metric.h"

#include <torch/torch.h>

namespace talpa::convert {

Metric::Metric(const LayerStatistics& statistics) : statistics_(statistics) {
  const double mass2 = std::max(statistics.mass2_N.sum().item<double>(), 1e-300);
  const double rows = std::max<double>(statistics.rows_N.sum().item<double>(), 1);
  // In sums of p^2: rows that are given the mean weight, divided by all that there is.
  const double share = kPriorRows / rows;
  mean_mass_ = mass2 * share;
  mean_input_ = statistics.layer_input_moment() * share;
  double trace = 0;
  std::int64_t width = 1;
  for (std::int64_t e = 0; e < statistics.num_experts(); ++e) {
    const at::Tensor moment = statistics.hidden_moments[e];
    width = moment.size(0);
    trace += (moment.dim() == 2 ? moment.diagonal() : moment).sum(torch::kDouble).item<double>();
  }
  mean_hidden_ = std::max(trace / static_cast<double>(width) * share, mass2 * 1e-12);
}

double Metric::mass(std::int64_t expert) const {
  return statistics_.mass2_N[expert].item<double>() + mean_mass_;
}

at::Tensor Metric::rows(Side side, std::int64_t expert) const {
  const at::Tensor& effect_NM =
      side == Side::kGate ? statistics_.gate_effect_NM : statistics_.up_effect_NM;
  const double all = std::max(statistics_.mass2_N.sum().item<double>(), 1e-300);
  const double mean = effect_NM.sum(0).mean().item<double>() / all;
  const double mass2 = statistics_.mass2_N[expert].item<double>();
  const double floor = std::max(mean * 1e-3, 1e-300);
  if (mass2 <= 0) return torch::full_like(effect_NM[expert], std::max(mean, floor));
  return (effect_NM[expert] / mass2).clamp_min(floor);
}

at::Tensor Metric::input(std::int64_t expert) const {
  return statistics_.input_moment(expert) + mean_input_;
}

at::Tensor Metric::input(std::span<const std::int64_t> experts) const {
  return statistics_.input_moment(experts) + mean_input_ * static_cast<double>(experts.size());
}

at::Tensor Metric::hidden(std::int64_t expert) const {
  at::Tensor moment = statistics_.hidden_moment(expert).clone();
  moment.diagonal().add_(mean_hidden_);
  return moment;
}

void check_enough_rows(const LayerStatistics& statistics, int layer, std::int64_t dim,
                       const char* method) {
  const auto rows = statistics.rows_N.sum().item<std::int64_t>();
  if (rows < dim)
    fail(ErrorCode::kUsage,
         "{}: the experts of layer {} saw {} rows of calibration text, fewer than the {} "
         "dimensions of their input; calibrate with more tokens",
         method, layer, rows, dim);
}

}  // namespace talpa::convert
