// T rows, D model width, M expert width, r latent width, b rank of a basis, N experts in G
// groups, S slots sorted by expert, R group rows (distinct rows of each group, sorted by group).
#include "talpa/nn/moe/latent_experts.h"

#include <torch/torch.h>

#include <map>
#include <string>

#include "talpa/nn/moe/routed_linear.h"
#include "talpa/nn/moe/routed_swiglu.h"
#include "talpa/route/groups.h"

namespace talpa::nn {
namespace {

// Names of the latent of gate or up: its projection and its mix.
std::string latent_name(const std::string& matrix, const LatentConfig& config) {
  return config.share_gate_up_latent ? "gate_up" : matrix;
}

at::Tensor activate(const at::Tensor& bases, BasisActivation activation) {
  switch (activation) {
    case BasisActivation::kNone:
      return bases;
    case BasisActivation::kSilu:
      return at::silu(bases);
    case BasisActivation::kTanh:
      return at::tanh(bases);
  }
  return bases;
}

// U: the rows of [identity; basis] in the places that the pivot mask gives them.
at::Tensor left_factor(const at::Tensor& basis_Gxb, const at::Tensor& pivot_Gr) {
  const std::int64_t num_groups = basis_Gxb.size(0), rank = basis_Gxb.size(2);
  const at::Tensor is_pivot_Gr = pivot_Gr.gt(0.5);
  const at::Tensor order_Gr = at::where(is_pivot_Gr, is_pivot_Gr.cumsum(1) - 1,
                                        rank - 1 + is_pivot_Gr.logical_not().cumsum(1));
  const at::Tensor identity_Gbb = at::eye(rank, basis_Gxb.options()).expand({num_groups, -1, -1});
  return at::cat({identity_Gbb, basis_Gxb}, 1)
      .gather(1, order_Gr.unsqueeze(2).expand({-1, -1, rank}));
}

// f(sum_j mix_ij basis_j), one an expert.
at::Tensor mix_bases(const at::Tensor& bases_Gxx, const at::Tensor& mix_NG,
                     const LatentConfig& config) {
  const at::Tensor mixed_Nx = at::mm(mix_NG, bases_Gxx.flatten(1));
  return activate(mixed_Nx, config.basis_activation)
      .unflatten(1, {bases_Gxx.size(1), bases_Gxx.size(2)});
}

// The projections that groups own: G of them as stored or, when mixed, one an expert.
at::Tensor input_projection(const Scope& parameters, const std::string& latent,
                            const LatentConfig& config) {
  at::Tensor in_GrD = parameters.at(latent + "_in");
  if (!config.mixed) return in_GrD;
  if (config.basis_rank > 0)
    in_GrD =
        left_factor(parameters.at(latent + "_basis"), parameters.at(latent + "_pivot")).bmm(in_GrD);
  return mix_bases(in_GrD, parameters.at(latent + "_mix"), config);
}

at::Tensor output_projection(const Scope& parameters, const LatentConfig& config) {
  at::Tensor out_GDr = parameters.at("down_out");
  if (!config.mixed) return out_GDr;
  if (config.basis_rank > 0) {
    const at::Tensor basis_Gxb = parameters.at("down_basis").transpose(1, 2);
    out_GDr = out_GDr.bmm(left_factor(basis_Gxb, parameters.at("down_pivot")).transpose(1, 2));
  }
  return mix_bases(out_GDr, parameters.at("down_mix"), config);
}

// One layer's rows on their way through groups.
class LatentForward {
 public:
  LatentForward(const Routing& routing, const Scope& parameters, const LatentConfig& config)
      : routing_(routing), parameters_(parameters), config_(config) {
    const int num_experts = routing.plan.num_experts;
    const int group_size = config.mixed            ? 1
                           : config.group_size > 0 ? config.group_size
                                                   : num_experts;
    const GroupPlan groups = group_rows(routing.plan, group_size);
    rows_of_groups_.offsets.assign(groups.offsets.begin(), groups.offsets.end());
    rows_of_groups_.map = RowMap(groups.row, routing.plan.num_rows);
    members_ = RowMap(groups.member, groups.num_group_rows());
  }

  at::Tensor run(const at::Tensor& x_TD, ExpertRanks* ranks) {
    const bool gate = config_.factor_gate, up = config_.factor_up, down = config_.factor_down;
    const at::Tensor a = gate ? latent(x_TD, "gate") : x_TD, b = up ? latent(x_TD, "up") : x_TD;
    const at::Tensor weight_S = routing_.weight_S.to(x_TD.scalar_type());
    const SwigluWeights weights{parameters_.at("gate"), parameters_.at("up"),
                                parameters_.at("down")};
    const SwigluPlan plan{routing_.offsets, slots(gate), slots(up), slots(down)};
    const at::Tensor y = ranks == nullptr ? routed_swiglu(a, b, weight_S, weights, plan)
                                          : ranks->swiglu(a, b, weight_S, weights, plan,
                                                          routing_.slots, x_TD.size(1));
    if (!down) return y;
    return scatter_linear(y, output_projection(parameters_, config_), rows_of_groups_);
  }

 private:
  const RowMap& slots(bool factored) const { return factored ? members_ : routing_.slots; }

  // The latents of every group row, each computed once.
  at::Tensor latent(const at::Tensor& x_TD, const std::string& matrix) {
    const std::string name = latent_name(matrix, config_);
    at::Tensor& latent_Rr = latents_[name];
    if (!latent_Rr.defined())
      latent_Rr =
          gather_linear(x_TD, input_projection(parameters_, name, config_), rows_of_groups_);
    return latent_Rr;
  }

  const Routing& routing_;
  const Scope& parameters_;
  const LatentConfig& config_;
  RoutedRows rows_of_groups_;  // group row -> row
  RowMap members_;             // slot -> group row
  std::map<std::string, at::Tensor> latents_;
};

// Projections [G or N, ...] as one an expert.
at::Tensor per_expert(const at::Tensor& projection, std::int64_t num_experts) {
  return projection.repeat_interleave(num_experts / projection.size(0), 0);
}

at::Tensor materialize_input(const Scope& parameters, const std::string& matrix, bool factored,
                             const LatentConfig& config) {
  const at::Tensor& weight = parameters.at(matrix);
  if (!factored) return weight;
  const at::Tensor in = input_projection(parameters, latent_name(matrix, config), config);
  return at::bmm(weight, per_expert(in, weight.size(0)));
}

}  // namespace

at::Tensor latent_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters,
                          const LatentConfig& config, ExpertRanks* ranks) {
  return LatentForward(routing, parameters, config).run(x_TD, ranks);
}

MaterializedExperts materialize(const Scope& parameters, const LatentConfig& config) {
  MaterializedExperts experts;
  experts.gate_NMD = materialize_input(parameters, "gate", config.factor_gate, config);
  experts.up_NMD = materialize_input(parameters, "up", config.factor_up, config);
  experts.down_NDM = parameters.at("down");
  if (config.factor_down) {
    const at::Tensor out = output_projection(parameters, config);
    experts.down_NDM = at::bmm(per_expert(out, experts.down_NDM.size(0)), experts.down_NDM);
  }
  return experts;
}

}  // namespace talpa::nn
