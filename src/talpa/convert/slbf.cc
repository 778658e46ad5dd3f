#include "talpa/convert/slbf.h"

#include "talpa/base/error.h"
#include "talpa/convert/bases_plan.h"
#include "talpa/convert/bases_start.h"
#include "talpa/convert/plan.h"
#include "talpa/model/accounting.h"

namespace talpa::convert {

namespace {

constexpr double kSlbfLogit = 4;
constexpr double kSlbfSize = 0.3;

/// latent_dim and basis_rank as given, or what of them is open from the budget.
LatentConfig sized(const DecoderConfig& original, LatentConfig latent,
                   const ConvertOptions& options) {
  if (latent.latent_dim > 0 && latent.basis_rank > 0) {
    if (options.budget > 0)
      fail(ErrorCode::kUsage, "give a latent width and a basis rank, or a budget, not both");
    return latent;
  }
  if (options.budget == 0 && latent.basis_rank > 0) {
    latent.latent_dim = widest_own(original);
    return latent;
  }
  check_budget(options, "a latent width and a basis rank");
  if (latent.latent_dim == 0) latent.latent_dim = own_width_for_budget(original, latent, options);
  if (latent.basis_rank > 0) return latent;
  const auto rank = basis_rank_for_budget(original, latent, options.budget, /*step=*/1);
  if (!rank)
    fail(ErrorCode::kConfig,
         "no basis rank keeps the experts within {:.0f} % of their size with {} bases and a latent "
         "width of {}; take a smaller width, larger groups or a larger budget, or factor more",
         options.budget * 100, original.moe.num_experts / latent.group_size, latent.latent_dim);
  latent.basis_rank = *rank;
  return latent;
}

}  // namespace

LatentConfig SlbfMethod::latent_of(const DecoderConfig& original,
                                   const ConvertOptions& options) const {
  LatentConfig latent = with_bases(original, options.latent, /*experts=*/1, own_activation());
  latent = sized(original, latent, options);
  check_width(original, latent);
  const LatentOutlook outlook = latent_outlook(original, latent);
  if (!outlook.refusal.empty()) fail(ErrorCode::kConfig, "{}", outlook.refusal);
  return latent;
}

BasesFitSettings SlbfMethod::own_settings() const {
  return {.steps = 8000,
          .learning_rate = 0.1,
          .basis_rate = 0.3,
          .weight_decay = 0.02,
          .schedule = FitSchedule::kCosine};
}

MixedBases SlbfMethod::start(const at::Tensor& target_NMD, const LatentConfig& latent,
                             int group_size, std::uint64_t) const {
  MixedBases start = sign_start(target_NMD, group_size, latent.latent_dim, latent.basis_rank, 1);
  start.activation = latent.basis_activation;
  return start;
}

BasesFitSettings SlbfPlusMethod::own_settings() const {
  return {.steps = 1500,
          .learning_rate = 0.05,
          .beta2 = 0.95,
          .schedule = FitSchedule::kTail,
          .exact_ridge = 1e-4};
}

MixedBases SlbfPlusMethod::start(const at::Tensor& target_NMD, const LatentConfig& latent,
                                 int group_size, std::uint64_t seed) const {
  MixedBases start =
      gauge_start(target_NMD, group_size, latent.latent_dim, latent.basis_rank, kSlbfLogit, seed);
  start.activation = latent.basis_activation;
  scale_bases(start, kSlbfSize);
  return start;
}

}  // namespace talpa::convert
