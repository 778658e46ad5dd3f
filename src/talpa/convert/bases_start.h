#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "talpa/convert/mixed_bases.h"

namespace talpa::convert {

/// Where fits start. Targets [N, M, D] are of unit mean square; experts of a group start from
/// one basis each: G = N / group_size.

/// MoBE's: the stacked SVD of consecutive groups, B = V_R^T, A_i = W_i V_R, and logits of `logit`
/// at the own group's basis, 0 elsewhere (mole.md 5.1).
MixedBases stacked_start(const at::Tensor& target_NMD, std::int64_t group_size,
                         std::int64_t latent_dim, double logit);

/// SLBF's "matrix sign" (mole.md 5.2): with W_i = P S Q, A_i = P without S, U = [I; 0] and V the
/// leading rows of Q, of the group's stack where it has several experts.
MixedBases sign_start(const at::Tensor& target_NMD, std::int64_t group_size,
                      std::int64_t latent_dim, std::int64_t basis_rank, double logit);

/// For fits that solve for A: the same V, U = [I; normal numbers]. With zeros in U, rows of bases
/// that are zero would get no weight in A and, through A, no gradient: the fit would stay there.
MixedBases gauge_start(const at::Tensor& target_NMD, std::int64_t group_size,
                       std::int64_t latent_dim, std::int64_t basis_rank, double logit,
                       std::uint64_t seed);

/// Scales bases to a root mean square of `size`, which decides how much of the nonlinearity a fit
/// sees at first; A's inverse scale keeps what it can of the product.
void scale_bases(MixedBases& bases, double size);

}  // namespace talpa::convert
