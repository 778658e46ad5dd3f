// m expert width, n model width, r latent width.
#include "talpa/convert/bases_plan.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa::convert {

LatentConfig with_bases(const DecoderConfig& original, LatentConfig latent, int experts,
                        BasisActivation activation) {
  const int all = original.moe.num_experts;
  latent.mixed = true;
  if (latent.basis_activation == BasisActivation::kNone) latent.basis_activation = activation;
  if (latent.group_size == 0) {
    latent.group_size = std::min(experts, std::max(all / 2, 1));
    while (all % latent.group_size != 0) --latent.group_size;
  }
  if (latent.group_size >= all)
    fail(ErrorCode::kConfig, "moe.latent.group_size = {} makes one basis, which is none to mix",
         latent.group_size);
  return latent;
}

LatentConfig linear_latent(LatentConfig mixed) {
  mixed.mixed = false;
  mixed.basis_activation = BasisActivation::kNone;
  mixed.basis_rank = mixed.down_basis_rank = 0;
  return mixed;
}

int widest_own(const DecoderConfig& original) {
  return std::min(original.moe.hidden_dim, original.dim);
}

int own_width_for_budget(const DecoderConfig& original, const LatentConfig& latent,
                         const ConvertOptions& options) {
  constexpr double kShare = 2.0 / 3;
  constexpr int kStep = 8, kLayerStep = 4, kBlock = 32;  // rows of whole blocks can be rounded
  const int factored = int{latent.factor_gate} + int{latent.factor_up} + int{latent.factor_down};
  const double left = (3 * options.budget - (3 - factored)) / std::max(factored, 1);
  const int width = static_cast<int>(kShare * left * original.dim);
  if (width < 2)
    fail(ErrorCode::kConfig,
         "a budget of {:.0f} % leaves nothing for the factored projections; factor more of gate, "
         "up and down, or take a larger budget",
         options.budget * 100);
  int step = options.allocate ? kLayerStep : kStep;
  if (options.gguf && width >= kBlock) step = kBlock;
  const int rounded = width < step ? width : width / step * step;
  return std::min(rounded, widest_own(original));
}

void check_width(const DecoderConfig& original, const LatentConfig& latent) {
  const int widest = widest_own(original);
  if (latent.latent_dim > widest)
    fail(ErrorCode::kConfig,
         "moe.latent.latent_dim = {}: experts' own matrices on mixed bases are {} wide at most",
         latent.latent_dim, widest);
}

}  // namespace talpa::convert
