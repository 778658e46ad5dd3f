#pragma once

#include "talpa/convert/options.h"
#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// `latent` with mixed bases; where left open, with the largest group of at most `experts` experts
/// that divides them and leaves two bases, and with `activation`. Throws kConfig where there would
/// be one basis, which is none to mix: the linear methods do that better.
LatentConfig with_bases(const DecoderConfig& original, LatentConfig latent, int experts,
                        BasisActivation activation);

/// Linear latents with the groups and projections of mixed bases.
LatentConfig linear_latent(LatentConfig mixed);

/// The widest that experts' own matrices [m, r] are useful: min(m, n).
int widest_own(const DecoderConfig& original);

/// A latent width for low-rank bases: own matrices take two thirds of what the budget leaves to
/// the factored projections, if they do not become as wide as the experts before (where that
/// share was best on a trained model between 35 and 75 %). In steps of 8, by layer of 4, where what
/// is lost to steps counts for more, in a GGUF of whole blocks.
int own_width_for_budget(const DecoderConfig& original, const LatentConfig& latent,
                         const ConvertOptions& options);

/// Throws kConfig for a latent width above widest_own.
void check_width(const DecoderConfig& original, const LatentConfig& latent);

}  // namespace talpa::convert
