// M expert width, D model width.
#include "talpa/convert/error_sum.h"

#include <torch/torch.h>

namespace talpa::convert {

namespace {

/// What an error x [M, D] of one expert does to the layer's output.
double output_error(const at::Tensor& x_MD, const LayerStatistics& statistics, Side side,
                    std::int64_t expert) {
  const auto type = x_MD.scalar_type();
  if (side == Side::kDown) {
    const at::Tensor moment_MM = statistics.hidden_moment(expert).to(type);
    return (moment_MM.matmul(x_MD) * x_MD).sum(torch::kDouble).item<double>();
  }
  const double mass2 = statistics.mass2_N[expert].item<double>();
  if (mass2 <= 0) return 0;
  const at::Tensor moment_DD = statistics.input_moment(expert).to(type);
  const at::Tensor error_M = (x_MD.matmul(moment_DD) * x_MD).sum(1, false, torch::kDouble);
  const at::Tensor& effect_NM =
      side == Side::kGate ? statistics.gate_effect_NM : statistics.up_effect_NM;
  return error_M.dot(effect_NM[expert]).item<double>() / mass2;
}

double energy(const at::Tensor& x) { return x.square().sum(torch::kDouble).item<double>(); }

}  // namespace

ErrorSum::ErrorSum(Side side, const LayerStatistics* statistics)
    : side_(side), statistics_(statistics) {
  sum_.side = side;
  if (statistics != nullptr) sum_.weighted_error = sum_.weighted_norm = 0.0;
}

void ErrorSum::add(std::int64_t expert, const at::Tensor& original_MD,
                   const at::Tensor& approximation_MD) {
  const torch::NoGradGuard no_grad;
  const auto type = torch::promote_types(original_MD.scalar_type(), approximation_MD.scalar_type());
  const at::Tensor original = original_MD.to(type);
  const at::Tensor residual = original - approximation_MD.to(type);
  sum_.squared_error += energy(residual);
  sum_.squared_norm += energy(original);
  if (statistics_ == nullptr) return;
  *sum_.weighted_error += output_error(residual, *statistics_, side_, expert);
  *sum_.weighted_norm += output_error(original, *statistics_, side_, expert);
}

ProjectionFit ErrorSum::result(double seconds) const {
  ProjectionFit fit = sum_;
  fit.seconds = seconds;
  return fit;
}

}  // namespace talpa::convert
