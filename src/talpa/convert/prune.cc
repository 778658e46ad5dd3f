// N experts, K of them kept, M expert width, D model width.
#include "talpa/convert/prune.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/base/stopwatch.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

void check_enough(const LayerStatistics& statistics, int layer) {
  const auto rows = statistics.rows_N.sum().item<std::int64_t>();
  const std::int64_t needed = PruneMethod::kMinMeanRows * statistics.num_experts();
  if (rows < needed)
    fail(ErrorCode::kUsage,
         "prune: the {} experts of layer {} saw {} rows of calibration text, expert {} only {}; "
         "scores need {} rows, calibrate with more tokens",
         statistics.num_experts(), layer, rows, statistics.rows_N.argmin().item<std::int64_t>(),
         statistics.rows_N.min().item<std::int64_t>(), needed);
}

/// One projection of the experts that stay; what goes counts as error.
at::Tensor keep(const LayerExperts& experts, Side side, const std::vector<std::int64_t>& kept,
                at::ScalarType type, ErrorSum& error) {
  const auto count = static_cast<std::int64_t>(kept.size());
  at::Tensor kept_KMD = torch::empty({count, experts.hidden_dim(), experts.dim()}, type);
  std::int64_t next = 0;
  for (std::int64_t e = 0; e < experts.num_experts(); ++e) {
    const at::Tensor expert_MD = experts.read(side, e, 1)[0];
    const bool stays = std::binary_search(kept.begin(), kept.end(), e);
    error.add(e, expert_MD, stays ? expert_MD : torch::zeros_like(expert_MD));
    if (stays) kept_KMD[next++].copy_(expert_MD);
  }
  return side == Side::kDown ? kept_KMD.transpose(1, 2) : kept_KMD;
}

}  // namespace

std::vector<std::int64_t> kept_experts(const LayerStatistics& statistics, std::int64_t count) {
  const at::Tensor score_N = statistics.output_mass_N / statistics.rows_N.clamp_min(1);
  const at::Tensor order_N = score_N.argsort(/*stable=*/true, 0, /*descending=*/true);
  const auto* order = order_N.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> kept(order, order + count);
  std::sort(kept.begin(), kept.end());
  return kept;
}

DecoderConfig PruneMethod::plan(const DecoderConfig& original,
                                const ConvertOptions& options) const {
  refuse_latent_options(options, name());
  DecoderConfig target = original;
  target.moe.num_experts = planned_experts(original, options);
  target.validate("");
  return target;
}

LayerFit PruneMethod::fit(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const LayerStatistics& statistics = *experts.statistics();
  check_enough(statistics, experts.layer());
  const auto kept = kept_experts(statistics, target.moe.num_experts);
  LayerFit fit;
  fit.order = kept;
  fit.tensors["router"] = experts.router().index_select(0, torch::tensor(kept, torch::kLong));
  for (const Side side : kSides) {
    const Stopwatch watch;
    ErrorSum error(side, &statistics);
    fit.tensors[enum_name(side)] = keep(experts, side, kept, kept_type(context.options), error);
    fit.projections.push_back(error.result(watch.elapsed().wall));
    context.progress(static_cast<double>(fit.projections.size()) / 3, {});
  }
  return fit;
}

double PruneMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig&,
                                     const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const Stopwatch watch;
  ErrorSum error(Side::kGate, experts.statistics());
  keep(experts, Side::kGate, {0}, kept_type(context.options), error);
  return watch.elapsed().wall * 3;
}

}  // namespace talpa::convert
