#include "talpa/convert/plan.h"

#include <cmath>

#include "talpa/model/accounting.h"

namespace talpa::convert {

namespace {

/// The largest latent width of whole blocks with which the experts take options.bits.
std::optional<int> latent_dim_for_bits(const DecoderConfig& original, LatentConfig latent,
                                       const ConvertOptions& options) {
  constexpr int kStep = 32;
  const double most = options.bits / 8 * static_cast<double>(account_of(original).expert_params);
  std::optional<int> best;
  for (latent.latent_dim = kStep; latent.latent_dim <= original.dim; latent.latent_dim += kStep) {
    const DecoderConfig target = with_latent(original, latent);
    if (static_cast<double>(expert_bytes_in_file(target, *options.gguf)) > most) break;
    best = latent.latent_dim;
  }
  return best;
}

}  // namespace

void check_budget(const ConvertOptions& options, const char* what) {
  if (!(options.budget > 0 && options.budget < 1))
    fail(ErrorCode::kUsage, "give {}, or a budget between 0 and 1 (got {})", what, options.budget);
}

LatentConfig planned_latent(const DecoderConfig& original, LatentConfig latent,
                            const ConvertOptions& options) {
  if (latent.latent_dim > 0 && options.budget > 0)
    fail(ErrorCode::kUsage, "give a latent width or a budget, not both");
  if (latent.latent_dim == 0 && options.bits > 0 && options.gguf) {
    const auto width = latent_dim_for_bits(original, latent, options);
    if (!width)
      fail(ErrorCode::kConfig, "no latent width keeps the experts within {:.3g} bits a parameter",
           options.bits);
    latent.latent_dim = *width;
    return latent;
  }
  if (latent.latent_dim == 0) {
    check_budget(options, "a latent width");
    const auto width = latent_dim_for_budget(original, latent, options.budget);
    if (!width)
      fail(ErrorCode::kConfig,
           "no latent width keeps the experts within {:.0f} % of their size with these factors; "
           "factor down as well, use larger groups or a larger budget",
           options.budget * 100);
    latent.latent_dim = *width;
  }
  const LatentOutlook outlook = latent_outlook(original, latent);
  if (!outlook.refusal.empty()) fail(ErrorCode::kConfig, "{}", outlook.refusal);
  return latent;
}

int planned_experts(const DecoderConfig& original, const ConvertOptions& options) {
  const MoeConfig& moe = original.moe;
  if (options.num_experts > 0 && options.budget > 0)
    fail(ErrorCode::kUsage, "give a number of experts or a budget, not both");
  int experts = options.num_experts;
  if (experts == 0 && options.bits > 0 && options.gguf) {
    const double all = static_cast<double>(expert_bytes_in_file(original, *options.gguf));
    const double most = options.bits / 8 * static_cast<double>(account_of(original).expert_params);
    experts = static_cast<int>(std::floor(most / all * moe.num_experts + 1e-9));
  } else if (experts == 0) {
    check_budget(options, "a number of experts");
    experts = static_cast<int>(std::floor(options.budget * moe.num_experts + 1e-9));
  }
  if (experts < moe.top_k)
    fail(ErrorCode::kConfig, "{} of {} experts are fewer than the {} that a token is sent to",
         experts, moe.num_experts, moe.top_k);
  if (experts >= moe.num_experts)
    fail(ErrorCode::kConfig, "{} experts are not fewer than the model's {}", experts,
         moe.num_experts);
  return experts;
}

void refuse_latent_options(const ConvertOptions& options, const char* method) {
  const LatentConfig& latent = options.latent;
  if (latent.latent_dim > 0 || latent.group_size > 0 || latent.share_gate_up_latent ||
      options.group_by != GroupBy::kOrder)
    fail(ErrorCode::kUsage,
         "method {} makes no latents: it takes neither a latent width nor groups nor a shared "
         "latent",
         method);
}

DecoderConfig with_latent(DecoderConfig original, const LatentConfig& latent) {
  original.origin = original.family;
  original.family = Family::kTalpa;
  original.moe.latent = latent;
  original.validate("");
  return original;
}

}  // namespace talpa::convert
