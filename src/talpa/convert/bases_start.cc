// N experts, G bases, M expert width, R latent width, D model width, K rank of a basis.
#include "talpa/convert/bases_start.h"

#include <torch/torch.h>

#include "talpa/base/random.h"
#include "talpa/convert/eigen.h"

namespace talpa::convert {

namespace {

at::Tensor one_hot_logits(const at::Tensor& target_NMD, std::int64_t group_size, double logit) {
  const std::int64_t experts = target_NMD.size(0);
  at::Tensor logits_NG = torch::zeros({experts, experts / group_size}, target_NMD.options());
  for (std::int64_t e = 0; e < experts; ++e) logits_NG[e][e / group_size] = logit;
  return logits_NG;
}

/// Leading right singular vectors of each group's stack: [G, rank, D], fp64.
at::Tensor group_bases(const at::Tensor& target_NMD, std::int64_t group_size, std::int64_t rank) {
  std::vector<at::Tensor> bases;
  for (std::int64_t first = 0; first < target_NMD.size(0); first += group_size) {
    const at::Tensor stack =
        target_NMD.narrow(0, first, group_size).flatten(0, 1).to(solving_type(target_NMD.size(2)));
    bases.push_back(right_basis(stack, rank).basis_DR.t());
  }
  return torch::stack(bases);
}

/// Left singular vectors [M, rank] of an expert.
at::Tensor left_vectors(const at::Tensor& target_MD, std::int64_t rank) {
  const at::Tensor wide_MD = target_MD.to(solving_type(target_MD.size(0)));
  return leading_eigenvectors_full(wide_MD.matmul(wide_MD.t()), rank);
}

at::Tensor normal_numbers(at::IntArrayRef shape, std::uint64_t seed) {
  at::Tensor values = torch::empty(shape, torch::kDouble);
  Random random(seed, "bases");
  auto* data = values.data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) data[i] = random.normal();
  return values;
}

MixedBases low_rank_start(const at::Tensor& target_NMD, std::int64_t group_size,
                          std::int64_t basis_rank, double logit) {
  MixedBases start;
  start.logits_NG = one_hot_logits(target_NMD, group_size, logit);
  start.right_GKD =
      group_bases(target_NMD, group_size, basis_rank).to(target_NMD.options()).contiguous();
  return start;
}

at::Tensor below_identity(const at::Tensor& rest_GXK, const at::Tensor& like) {
  const std::int64_t bases = rest_GXK.size(0), rank = rest_GXK.size(2);
  const at::Tensor identity_GKK = torch::eye(rank, rest_GXK.options()).expand({bases, -1, -1});
  return torch::cat({identity_GKK, rest_GXK}, 1).to(like.options()).contiguous();
}

}  // namespace

MixedBases stacked_start(const at::Tensor& target_NMD, std::int64_t group_size,
                         std::int64_t latent_dim, double logit) {
  const at::Tensor bases_GRD = group_bases(target_NMD, group_size, latent_dim);
  MixedBases start;
  start.logits_NG = one_hot_logits(target_NMD, group_size, logit);
  start.whole_GRD = bases_GRD.to(target_NMD.options()).contiguous();
  start.own_NMR =
      torch::empty({target_NMD.size(0), target_NMD.size(1), latent_dim}, target_NMD.options());
  for (std::int64_t e = 0; e < target_NMD.size(0); ++e)
    start.own_NMR[e].copy_(target_NMD[e].matmul(start.whole_GRD[e / group_size].t()));
  return start;
}

MixedBases sign_start(const at::Tensor& target_NMD, std::int64_t group_size,
                      std::int64_t latent_dim, std::int64_t basis_rank, double logit) {
  MixedBases start = low_rank_start(target_NMD, group_size, basis_rank, logit);
  const std::int64_t bases = start.right_GKD.size(0);
  start.left_GRK =
      below_identity(torch::zeros({bases, latent_dim - basis_rank, basis_rank}), target_NMD);
  start.own_NMR =
      torch::empty({target_NMD.size(0), target_NMD.size(1), latent_dim}, target_NMD.options());
  for (std::int64_t e = 0; e < target_NMD.size(0); ++e) {
    start.own_NMR[e].copy_(left_vectors(target_NMD[e], latent_dim));
    if (group_size > 1) continue;
    // Singular vectors come with either sign: the left ones decide.
    const at::Tensor rows_KD = start.own_NMR[e].narrow(1, 0, basis_rank).t().matmul(target_NMD[e]);
    start.right_GKD[e].copy_(rows_KD / rows_KD.norm(2, 1, true).clamp_min(1e-30));
  }
  return start;
}

MixedBases gauge_start(const at::Tensor& target_NMD, std::int64_t group_size,
                       std::int64_t latent_dim, std::int64_t basis_rank, double logit,
                       std::uint64_t seed) {
  MixedBases start = low_rank_start(target_NMD, group_size, basis_rank, logit);
  const std::int64_t bases = start.right_GKD.size(0);
  const at::Tensor rest_GXK = normal_numbers({bases, latent_dim - basis_rank, basis_rank}, seed) /
                              std::sqrt(static_cast<double>(basis_rank));
  start.left_GRK = below_identity(rest_GXK, target_NMD);
  start.own_NMR =
      torch::zeros({target_NMD.size(0), target_NMD.size(1), latent_dim}, target_NMD.options());
  return start;
}

void scale_bases(MixedBases& bases, double size) {
  const double now = bases.bases_GRD().square().mean().sqrt().item<double>();
  if (!(now > 0)) return;
  (bases.low_rank() ? bases.right_GKD : bases.whole_GRD).mul_(size / now);
  bases.own_NMR.mul_(now / size);
}

}  // namespace talpa::convert
