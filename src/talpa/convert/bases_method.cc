#include "talpa/convert/bases_method.h"

#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/convert/layer_bases.h"
#include "talpa/convert/metric.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

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

double BasesMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                     const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const bool weighted = is_weighted(context.options) && experts.statistics() != nullptr;
  return LayerBases(*this, experts, target, context, weighted).estimate();
}

}  // namespace talpa::convert
