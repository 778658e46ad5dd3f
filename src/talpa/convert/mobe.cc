#include "talpa/convert/mobe.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/convert/bases_plan.h"
#include "talpa/convert/bases_start.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

/// Experts a basis, where options leave it open, as the paper has for Qwen3 and DeepSeek-V3.
constexpr int kExpertsABasis = 4;
/// Of mobe-plus: softmax of 4 against zeros gives the own basis most of the mix.
constexpr double kMobeLogit = 4;
constexpr double kMobeSize = 0.2;

}  // namespace

LatentConfig MobeMethod::latent_of(const DecoderConfig& original,
                                   const ConvertOptions& options) const {
  LatentConfig latent = options.latent;
  if (latent.basis_rank != 0)
    fail(ErrorCode::kUsage, "method {} has whole bases; slbf has bases of low rank", name());
  latent = with_bases(original, latent, kExpertsABasis, BasisActivation::kSilu);
  latent = planned_latent(original, latent, options);
  if (options.latent.latent_dim == 0)
    latent.latent_dim = std::min(latent.latent_dim, widest_own(original));
  check_width(original, latent);
  return latent;
}

BasesFitSettings MobeMethod::own_settings() const {
  return {.steps = 10'000, .learning_rate = 0.07, .schedule = FitSchedule::kConstant};
}

MixedBases MobeMethod::start(const at::Tensor& target_NMD, const LatentConfig& latent,
                             int group_size, std::uint64_t) const {
  MixedBases start = stacked_start(target_NMD, group_size, latent.latent_dim, 1);
  start.activation = latent.basis_activation;
  return start;
}

BasesFitSettings MobePlusMethod::own_settings() const {
  return {.steps = 1500,
          .learning_rate = 0.07,
          .beta2 = 0.95,
          .schedule = FitSchedule::kTail,
          .exact_ridge = 1e-4};
}

MixedBases MobePlusMethod::start(const at::Tensor& target_NMD, const LatentConfig& latent,
                                 int group_size, std::uint64_t) const {
  MixedBases start = stacked_start(target_NMD, group_size, latent.latent_dim, kMobeLogit);
  start.activation = latent.basis_activation;
  scale_bases(start, kMobeSize);
  return start;
}

}  // namespace talpa::convert
