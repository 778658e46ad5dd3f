// N experts, K experts of a group, G groups, M expert width, D model width, R latent width.
#include "talpa/convert/linear.h"

#include <torch/torch.h>

#include "talpa/base/stopwatch.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/group_by.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

/// Projections that share a right factor, and its name.
struct SideSet {
  std::vector<Side> sides;
  std::string right_name;
};

std::vector<SideSet> side_sets(const LatentConfig& latent) {
  std::vector<SideSet> sets;
  if (latent.share_gate_up_latent) {
    sets.push_back({{Side::kGate, Side::kUp}, "gate_up_in"});
  } else {
    if (latent.factor_gate) sets.push_back({{Side::kGate}, "gate_in"});
    if (latent.factor_up) sets.push_back({{Side::kUp}, "up_in"});
  }
  if (latent.factor_down) sets.push_back({{Side::kDown}, "down_out"});
  return sets;
}

std::vector<Side> factored_sides(const LatentConfig& latent) {
  std::vector<Side> sides;
  for (const SideSet& set : side_sets(latent))
    sides.insert(sides.end(), set.sides.begin(), set.sides.end());
  return sides;
}

/// Some experts by their numbers: [K, M, D].
at::Tensor read_members(const LayerExperts& experts, Side side,
                        const std::vector<std::int64_t>& members) {
  std::vector<at::Tensor> all;
  for (const std::int64_t e : members) all.push_back(experts.read(side, e, 1));
  return torch::cat(all);
}

/// An error of gate or up costs about twice what its spectrum says, which takes means of its size
/// and of its effect apart: of the factors 1, 2, 4 and 8 it lost least on a trained model.
constexpr double kInputCost = 2;

/// Enough of a large group for an estimate to be made of it.
constexpr std::int64_t kFewExperts = 8;

/// One layer on its way: groups are factored one by one and laid into the target's tensors.
class LayerFactoring {
 public:
  LayerFactoring(const LayerExperts& experts, const DecoderConfig& target,
                 const FitContext& context)
      : experts_(experts),
        latent_(target.moe.latent.of_layer(experts.layer())),
        target_(target),
        context_(context) {
    if (experts.statistics() != nullptr) metric_.emplace(*experts.statistics());
    order_ = expert_order(experts_, factored_sides(latent_), latent_, context_.options.group_by);
  }

  using Factorise = std::function<GroupFactors(const GroupInput&)>;

  LayerFit run(const Factorise& factorise) {
    const auto sets = side_sets(latent_);
    for (std::size_t s = 0; s < sets.size(); ++s) {
      factor_set(sets[s], factorise);
      context_.progress(static_cast<double>(s + 1) / static_cast<double>(sets.size()), {});
    }
    reorder_rest();
    return std::move(fit_);
  }

  /// Summed over groups, and those of gate and up.
  LayerSpectra spectra(const std::function<at::Tensor(const GroupInput&)>& spectrum_of) const {
    LayerSpectra sums;
    const auto sets = side_sets(latent_);
    const auto groups = static_cast<double>(sets.size()) * target_.num_groups();
    double done = 0;
    for (const SideSet& set : sets) {
      at::Tensor& sum_D = set.sides.front() == Side::kDown ? sums.out_D : sums.in_D;
      if (!sum_D.defined()) sum_D = torch::zeros({experts_.dim()}, torch::kDouble);
      for (std::int64_t g = 0; g < target_.num_groups(); ++g) {
        const at::Tensor values = spectrum_of(input_of(set, members(g)));
        sum_D.narrow(0, 0, values.size(0)) += values.to(torch::kDouble);
        context_.progress(++done / groups, {});
      }
    }
    return sums;
  }

  /// Factors the first group of every set and scales by the number of groups; of a large group two
  /// small parts, between which time grows in a straight line: a solution of the width's size, and
  /// products for every expert.
  double estimate(const Factorise& factorise) {
    double seconds = 0;
    for (const SideSet& set : side_sets(latent_)) {
      const std::int64_t all = target_.group_size(), few = std::max(kFewExperts, all / 16);
      double group = 0;
      if (all <= 4 * few) {
        group = seconds_for(set, all, factorise);
      } else {
        // What is slow for being the first would hide a small difference.
        const std::int64_t more = 3 * few;
        const double one = seconds_for(set, few, factorise);
        const double three = seconds_for(set, more, factorise);
        group = one + std::max(0.0, three - one) * static_cast<double>(all - few) /
                          static_cast<double>(more - few);
      }
      seconds += group * target_.num_groups();
    }
    return seconds;
  }

 private:
  std::vector<std::int64_t> members(std::int64_t group) const {
    const auto first = order_.begin() + group * target_.group_size();
    return {first, first + target_.group_size()};
  }

  double seconds_for(const SideSet& set, std::int64_t experts, const Factorise& factorise) {
    const Stopwatch watch;
    factor_group(set, 0, factorise, experts);
    return watch.elapsed().wall;
  }

  /// The experts `numbers` as one group; `set` must outlive it.
  GroupInput input_of(const SideSet& set, std::vector<std::int64_t> numbers) const {
    GroupInput input;
    input.sides = set.sides;
    input.expert_MD = [this, &set, numbers](std::size_t s, std::size_t k) {
      return experts_.read(set.sides[s], numbers[k], 1)[0];
    };
    input.members = std::move(numbers);
    const bool down = set.sides.front() == Side::kDown;
    input.latent_dim = (down ? latent_.output_size() : latent_.input_size()).width;
    input.reduce_rank = context_.options.reduce_rank;
    input.refine = context_.options.refine;
    input.metric = metric_ ? &*metric_ : nullptr;
    return input;
  }

  /// A group, or its first `count` experts.
  GroupFactors factor_group(const SideSet& set, std::int64_t group, const Factorise& factorise,
                            std::int64_t count = 0) {
    if (group == 0) errors_.clear();
    for (const Side side : set.sides)
      if (group == 0) errors_.emplace_back(side, experts_.statistics());
    std::vector<std::int64_t> numbers = members(group);
    if (count > 0) numbers.resize(static_cast<std::size_t>(count));
    const GroupInput input = input_of(set, std::move(numbers));
    GroupFactors factors = factorise(input);
    for (std::size_t s = 0; s < set.sides.size(); ++s)
      for (std::size_t k = 0; k < input.members.size(); ++k)
        errors_[s].add(input.members[k], input.expert_MD(s, k),
                       factors.left_KMR[s][static_cast<std::int64_t>(k)].matmul(factors.right_RD));
    return factors;
  }

  void factor_set(const SideSet& set, const Factorise& factorise) {
    const Stopwatch watch;
    const at::ScalarType type = kept_type(context_.options);
    std::vector<std::vector<at::Tensor>> lefts(set.sides.size());  // by side and group
    std::vector<at::Tensor> rights;
    for (std::int64_t g = 0; g < target_.num_groups(); ++g) {
      GroupFactors factors = factor_group(set, g, factorise);
      rights.push_back(factors.right_RD.to(type));
      for (std::size_t s = 0; s < set.sides.size(); ++s) {
        lefts[s].push_back(factors.left_KMR[s].to(type));
        factors.left_KMR[s] = at::Tensor();
      }
    }
    std::vector<at::Tensor> left_NMR;
    for (auto& groups : lefts)
      left_NMR.push_back(groups.size() == 1 ? groups.front() : torch::cat(groups));
    store(set, left_NMR, torch::stack(rights), watch.elapsed().wall);
  }

  void store(const SideSet& set, const std::vector<at::Tensor>& left_NMR,
             const at::Tensor& right_GRD, double seconds) {
    const bool down = set.sides.front() == Side::kDown;
    fit_.tensors[set.right_name] = down ? right_GRD.transpose(1, 2) : right_GRD;
    for (std::size_t s = 0; s < set.sides.size(); ++s) {
      fit_.tensors[enum_name(set.sides[s])] = down ? left_NMR[s].transpose(1, 2) : left_NMR[s];
      fit_.projections.push_back(
          errors_[s].result(seconds / static_cast<double>(set.sides.size())));
    }
  }

  /// The router and what is not factored follow the new order.
  void reorder_rest() {
    if (std::is_sorted(order_.begin(), order_.end())) return;
    fit_.order = order_;
    const at::Tensor order_N = torch::tensor(order_, torch::kLong);
    fit_.tensors["router"] = experts_.router().index_select(0, order_N);
    for (const Side side : kSides) {
      if (fit_.tensors.contains(enum_name(side))) continue;
      const at::Tensor dense_NMD = read_members(experts_, side, order_);
      fit_.tensors[enum_name(side)] = side == Side::kDown ? dense_NMD.transpose(1, 2) : dense_NMD;
    }
  }

  const LayerExperts& experts_;
  const LatentConfig latent_;
  const DecoderConfig& target_;
  const FitContext& context_;
  std::optional<Metric> metric_;
  std::vector<std::int64_t> order_;
  std::vector<ErrorSum> errors_;
  LayerFit fit_;
};

}  // namespace

LatentConfig LinearMethod::latent_of(const DecoderConfig&, const ConvertOptions& options) const {
  return options.latent;
}

DecoderConfig LinearMethod::plan(const DecoderConfig& original,
                                 const ConvertOptions& options) const {
  if (options.latent.mixed || options.latent.basis_activation != BasisActivation::kNone)
    fail(ErrorCode::kUnsupported, "method {} finds linear latents, not mixed bases", name());
  if (options.reduce_rank < 0)
    fail(ErrorCode::kConfig, "rank {} of the first phase is negative", options.reduce_rank);
  return with_latent(original, planned_latent(original, latent_of(original, options), options));
}

LayerFit LinearMethod::fit(const LayerExperts& experts, const DecoderConfig& target,
                           const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  if (experts.statistics() != nullptr && uses_statistics())
    check_enough_rows(*experts.statistics(), experts.layer(), experts.dim(), name());
  return LayerFactoring(experts, target, context).run([this](const GroupInput& input) {
    return factors_of(input);
  });
}

LayerSpectra LinearMethod::spectra(const LayerExperts& experts, const DecoderConfig& target,
                                   const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  if (experts.statistics() != nullptr && uses_statistics())
    check_enough_rows(*experts.statistics(), experts.layer(), experts.dim(), name());
  LayerSpectra sums =
      LayerFactoring(experts, target, context).spectra([this](const GroupInput& input) {
        return spectrum_of(input);
      });
  if (uses_statistics() && experts.statistics() != nullptr) {
    sums.apart = true;
    if (sums.in_D.defined()) sums.in_D *= kInputCost;
    return sums;
  }
  // Sizes of weights alone do not say what a layer does: shares of it.
  double total = 1e-300;
  for (const at::Tensor& sum_D : {sums.in_D, sums.out_D})
    if (sum_D.defined()) total += sum_D.sum().item<double>();
  for (at::Tensor* sum_D : {&sums.in_D, &sums.out_D})
    if (sum_D->defined()) *sum_D /= total;
  return sums;
}

double LinearMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                      const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const Stopwatch setup;
  LayerFactoring factoring(experts, target, context);
  const double before = setup.elapsed().wall;
  return before + factoring.estimate([this](const GroupInput& input) { return factors_of(input); });
}

}  // namespace talpa::convert
