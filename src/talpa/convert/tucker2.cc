#include "talpa/convert/linear.h"

namespace talpa::convert {

LatentConfig Tucker2Method::latent_of(const DecoderConfig& original,
                                      const ConvertOptions& options) const {
  LatentConfig latent = options.latent;
  if (latent.group_size != 0 && latent.group_size != original.moe.num_experts)
    fail(ErrorCode::kUsage, "tucker2 has one group of all {} experts, not groups of {}",
         original.moe.num_experts, latent.group_size);
  latent.group_size = original.moe.num_experts;
  latent.factor_gate = latent.factor_up = latent.factor_down = true;
  latent.share_gate_up_latent = true;
  return latent;
}

GroupFactors Tucker2Method::factors_of(const GroupInput& input) const {
  return input.metric != nullptr ? whitened_group(input) : svd_group(input);
}

at::Tensor Tucker2Method::spectrum_of(const GroupInput& input) const {
  return input.metric != nullptr ? whitened_spectrum(input) : svd_spectrum(input);
}

}  // namespace talpa::convert
