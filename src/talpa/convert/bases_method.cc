#include "talpa/convert/bases_method.h"

#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/convert/bases_plan.h"
#include "talpa/convert/layer_bases.h"
#include "talpa/convert/metric.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

/// The spectrum of which a share t^power is left where t is of `spectrum_D`.
at::Tensor to_power(const at::Tensor& spectrum_D, double power) {
  const double total = std::max(spectrum_D.sum().item<double>(), 1e-300);
  const at::Tensor left_D = (1 - spectrum_D.cumsum(0) / total).clamp_min(0).pow(power);
  return -total * torch::diff(left_D, 1, 0, /*prepend=*/torch::ones({1}, torch::kDouble));
}

}  // namespace

BasesFitSettings BasesMethod::settings(const ConvertOptions& options) const {
  BasesFitSettings settings = own_settings();
  if (options.steps > 0) settings.steps = options.steps;
  if (options.learning_rate > 0) settings.learning_rate = options.learning_rate;
  return settings;
}

DecoderConfig BasesMethod::plan(const DecoderConfig& original,
                                const ConvertOptions& options) const {
  if (options.latent.share_gate_up_latent)
    fail(ErrorCode::kUsage, "method {} fits gate and up by themselves, without a shared latent",
         name());
  if (options.group_by != GroupBy::kOrder)
    fail(ErrorCode::kUsage, "method {} lets every expert mix all bases: it has no groups to choose",
         name());
  if (options.reduce_rank != 0 || options.num_experts != 0)
    fail(ErrorCode::kUsage, "method {} takes neither a first phase nor a number of experts",
         name());
  return with_latent(original, latent_of(original, options));
}

LayerFit BasesMethod::fit(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const bool weighted = is_weighted(context.options) && experts.statistics() != nullptr;
  if (context.options.weighted && !weighted)
    fail(ErrorCode::kUsage, "a weighted fit needs a calibration");
  if (weighted) check_enough_rows(*experts.statistics(), experts.layer(), experts.dim(), name());
  return LayerBases(*this, experts, target, context, weighted).run();
}

LayerSpectra BasesMethod::spectra(const LayerExperts& experts, const DecoderConfig& target,
                                  const FitContext& context) const {
  const Method& linear = method_named(experts.statistics() != nullptr ? "svd-whitened" : "svd");
  DecoderConfig groups = target;
  LayerSpectra sums;
  for (bool LatentConfig::*const side :
       {&LatentConfig::factor_gate, &LatentConfig::factor_up, &LatentConfig::factor_down}) {
    if (!(target.moe.latent.*side)) continue;
    LatentConfig& one = groups.moe.latent = linear_latent(target.moe.latent);
    one.factor_gate = one.factor_up = one.factor_down = false;
    one.*side = true;
    const LayerSpectra of_side = linear.spectra(experts, groups, context);
    sums.apart = of_side.apart;
    if (side == &LatentConfig::factor_down) {
      sums.out_D = to_power(of_side.out_D, loss_power());
      continue;
    }
    const at::Tensor in_D = to_power(of_side.in_D, loss_power());
    sums.in_D = sums.in_D.defined() ? sums.in_D + in_D : in_D;
  }
  return sums;
}

double BasesMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                     const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const bool weighted = is_weighted(context.options) && experts.statistics() != nullptr;
  return LayerBases(*this, experts, target, context, weighted).estimate();
}

}  // namespace talpa::convert
