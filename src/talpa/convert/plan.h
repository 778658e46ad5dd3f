#pragma once

#include "talpa/convert/options.h"
#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// `latent` with its latent_dim filled in: as given, or the largest within options.budget. Throws
/// kUsage for both or neither, kConfig with the reason when it would not shrink the model.
LatentConfig planned_latent(const DecoderConfig& original, LatentConfig latent,
                            const ConvertOptions& options);

/// The description of `original` with these latent experts: family talpa, origin the family that
/// it was.
DecoderConfig with_latent(DecoderConfig original, const LatentConfig& latent);

/// Experts a layer that remain: options.num_experts, or the share that options.budget leaves of
/// them. Throws kUsage for both or neither, kConfig for fewer than a token is sent to, or for all.
int planned_experts(const DecoderConfig& original, const ConvertOptions& options);

/// Throws kUsage if options ask for latents or groups, which `method` does not make.
void refuse_latent_options(const ConvertOptions& options, const char* method);

/// Throws kUsage naming `what` unless the budget is between 0 and 1.
void check_budget(const ConvertOptions& options, const char* what);

}  // namespace talpa::convert
