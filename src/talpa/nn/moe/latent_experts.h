#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/moe/expert_ranks.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {

/// Latent experts (see LatentConfig for the equations and weights.h for the parameters).
///
/// B_g x is computed once for each row that hits group g, however many of its experts the row
/// goes to; where down is factored, a row's experts of one group are combined in the latent
/// space before C_g. Mixed bases are formed as matrices, f(sum_j mix_ij B_j), one an expert:
/// with a nonlinearity there is no other way, and for a batch it is the cheaper one without.
/// Low-rank bases are multiplied out first, B_j = U_j V_j. Pivot masks must be well-formed
/// (model/basis_pivots.h). Where `ranks` share the experts, latents travel to them, not rows; gate,
/// up and down are those of this process' experts, projections those of all.
at::Tensor latent_experts(const at::Tensor& x_TD, const Routing& routing, const Scope& parameters,
                          const LatentConfig& config, ExpertRanks* ranks = nullptr);

/// The matrices that latent experts stand for, by the names and shapes of dense experts: gate,
/// up [N, m, n], down [N, n, m]. Differentiable.
struct MaterializedExperts {
  at::Tensor gate_NMD, up_NMD, down_NDM;
};
MaterializedExperts materialize(const Scope& parameters, const LatentConfig& config);

}  // namespace talpa::nn
