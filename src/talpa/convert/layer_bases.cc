// N experts, M expert width, D model width.
#include "talpa/convert/layer_bases.h"

#include <torch/torch.h>

#include <cmath>
#include <optional>

#include "talpa/base/log.h"
#include "talpa/base/memory.h"
#include "talpa/base/stopwatch.h"
#include "talpa/convert/bases_metric.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/rounding.h"

namespace talpa::convert {

namespace {

constexpr double kSecondsBetweenStates = 60;
/// Steps that an estimate times, after an evaluation that warms up.
constexpr int kTimedSteps = 3;
/// Experts of a projection with more elements are read anew for every step.
constexpr std::int64_t kHeldElements = std::int64_t{32} << 20;

std::vector<Side> factored_sides_of(const LatentConfig& latent) {
  std::vector<Side> sides;
  if (latent.factor_gate) sides.push_back(Side::kGate);
  if (latent.factor_up) sides.push_back(Side::kUp);
  if (latent.factor_down) sides.push_back(Side::kDown);
  return sides;
}

}  // namespace

/// What one projection's fit works on.
struct LayerBases::Problem {
  BasesTarget experts, target;
  double sigma = 1;  ///< experts = sigma target
  BasesMetric metric;
};

LayerBases::LayerBases(const BasesMethod& method, const LayerExperts& experts,
                       const DecoderConfig& target, const FitContext& context, bool weighted)
    : method_(method),
      experts_(experts),
      latent_(target.moe.latent.of_layer(experts.layer())),
      group_size_(target.group_size()),
      context_(context),
      weighted_(weighted),
      settings_(method.settings(context.options)),
      sides_(factored_sides_of(latent_)) {}

LayerFit LayerBases::run() const {
  LayerFit fit;
  for (std::size_t place = 0; place < sides_.size(); ++place) {
    const SideStore store(context_.scratch, sides_[place]);
    auto result = store.finished();
    if (!result) {
      result = fit_side(place, store);
      store.finish(*result);
    }
    // As the file will hold them: what waits for the other projections takes half.
    for (const auto& [name, tensor] : result->tensors)
      fit.tensors[name] = tensor.to(kept_type(context_.options));
    fit.projections.push_back(result->fit);
  }
  return fit;
}

LayerBases::Problem LayerBases::problem_of(Side side) const {
  Problem problem;
  BasesTarget& experts = problem.experts;
  experts.shape = {experts_.num_experts(), experts_.hidden_dim(), experts_.dim()};
  experts.read_CMD = [this, side](std::int64_t first, std::int64_t count) {
    return experts_.read(side, first, count);
  };
  if (experts.numel() <= kHeldElements) experts = experts_.read(side);
  double square = 0;
  for (std::int64_t e = 0; e < experts_.num_experts(); ++e)
    square += experts.read_CMD(e, 1).square().sum(torch::kDouble).item<double>();
  problem.sigma = std::max(std::sqrt(square / static_cast<double>(experts.numel())), 1e-30);
  problem.target.shape = experts.shape;
  problem.target.read_CMD = [read = experts.read_CMD, sigma = problem.sigma](std::int64_t first,
                                                                             std::int64_t count) {
    return read(first, count) / sigma;
  };
  if (experts.numel() <= kHeldElements)
    problem.target = problem.target.read_CMD(0, experts.shape[0]);
  if (weighted_) {
    problem.metric = bases_metric(side, *experts_.statistics());
    experts_.statistics()->release();
  }
  return problem;
}

MixedBases LayerBases::start(const BasesTarget& target, Side side) const {
  const auto place = static_cast<std::uint64_t>(experts_.layer()) * std::size(kSides) +
                     static_cast<std::uint64_t>(side);
  LatentConfig latent = latent_;
  if (side == Side::kDown) {
    latent.latent_dim = latent_.output_size().width;
    latent.basis_rank = latent_.output_size().rank;
  }
  at::Tensor target_NMD = torch::empty(target.shape, torch::kFloat);
  for (std::int64_t e = 0; e < target.shape[0]; ++e) target_NMD[e].copy_(target.read_CMD(e, 1)[0]);
  return method_.start(target_NMD, latent, group_size_, context_.options.seed * 1'000'003 + place);
}

BasesFitSettings LayerBases::settings_for(Side side) const {
  BasesFitSettings settings = settings_;
  const ConvertOptions& options = context_.options;
  if (options.gguf && settings.exact_ridge > 0) {
    const DType type = type_of_part(options.gguf->of_layer(experts_.layer()), enum_name(side));
    settings.noise = rounding_noise(type);
  }
  return settings;
}

SideStore::Finished LayerBases::fit_side(std::size_t place, const SideStore& store) const {
  const Stopwatch watch;
  const Side side = sides_[place];
  const Problem problem = problem_of(side);
  SideStore::Finished result = finished(fitted_bases(place, problem, store), side, problem);
  return_free_memory();
  result.fit.seconds = watch.elapsed().wall;
  return result;
}

MixedBases LayerBases::fitted_bases(std::size_t place, const Problem& problem,
                                    const SideStore& store) const {
  const Side side = sides_[place];
  // Before the objective holds what it needs: a start has all experts in memory.
  std::optional<MixedBases> first = start(problem.target, side);
  return_free_memory();
  const BasesObjective objective(problem.target, problem.metric);
  auto next_start = [&] {
    const auto now = std::exchange(first, std::nullopt);
    return now ? *now : start(problem.target, side);
  };
  BasesFit fit(objective, next_start, settings_for(side));
  run_fit(place, fit, store);
  return fit.best();
}

void LayerBases::run_fit(std::size_t place, BasesFit& fit, const SideStore& store) const {
  store.resume(fit);
  Stopwatch since;
  try {
    while (fit.advance()) {
      context_.progress(
          (static_cast<double>(place) + fit.done()) / static_cast<double>(sides_.size()),
          fmt::format("{}, error {:.3f}", enum_name(sides_[place]), std::sqrt(fit.best_loss())));
      if (since.elapsed().wall < kSecondsBetweenStates) continue;
      store.keep(fit);
      since = Stopwatch();
    }
  } catch (...) {
    store.keep(fit);
    throw;
  }
}

SideStore::Finished LayerBases::finished(MixedBases best, Side side, const Problem& problem) const {
  StoredBases stored = stored_bases(best, problem.sigma, context_.options.dtype);
  best = MixedBases();
  refit_own(stored, problem.experts, problem.metric);
  ErrorSum error(side, experts_.statistics());
  const at::Tensor bases_GRD = stored.bases_GRD();
  for (std::int64_t e = 0; e < experts_.num_experts(); ++e) {
    const at::Tensor formed_RD =
        formed_bases(stored.mix_NG.narrow(0, e, 1), bases_GRD, stored.activation)[0];
    error.add(e, problem.experts.read_CMD(e, 1)[0], stored.own_NMR[e].matmul(formed_RD));
  }
  return {stored.named(side), error.result(0)};
}

double LayerBases::estimate() const {
  double total = 0, step = 0;
  for (const Side side : sides_) {
    if (side == Side::kUp && sides_.front() == Side::kGate) continue;
    const bool both = side == Side::kGate && latent_.factor_up;
    const Cost cost = estimate_side(side);
    total += (both ? 2 : 1) * (cost.rest + cost.step * (settings_.steps + 1));  // the last look
    step = std::max(step, cost.step);
  }
  log::info("{}: a step takes {:.3g} ms, at most {} steps a projection", method_.name(), step * 1e3,
            settings_.steps);
  return total;
}

LayerBases::Cost LayerBases::estimate_side(Side side) const {
  Cost cost;
  const Stopwatch before;
  const Problem problem = problem_of(side);
  MixedBases best;
  {
    MixedBases begin = start(problem.target, side);
    return_free_memory();
    const BasesObjective objective(problem.target, problem.metric);
    cost.rest = before.elapsed().wall;
    objective.gradients(begin);  // warms up
    BasesFitSettings few = settings_;
    few.steps = kTimedSteps;
    few.max_restarts = 0;
    BasesFit timed(
        objective, [&] { return std::move(begin); }, few);
    const Stopwatch steps;
    while (timed.advance()) {
    }
    // The last look evaluates once more.
    cost.step = steps.elapsed().wall / (kTimedSteps + 1);
    best = timed.best();
  }
  const Stopwatch after;
  finished(std::move(best), side, problem);
  return_free_memory();
  cost.rest += after.elapsed().wall;
  return cost;
}

}  // namespace talpa::convert
