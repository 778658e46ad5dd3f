#pragma once

#include <cstdint>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/decoder.h"

namespace talpa::nn {

/// Fills parameters: Normal(0, 0.02), residual outputs divided by sqrt(2 layers), norms one,
/// biases zero. A factored matrix A B gets the variance of the dense one, shared equally by its
/// factors; bases under a nonlinearity start at unit variance, where it bends, and mixes at
/// their own group. Low-rank bases have that variance in all their rows, the first k_b being the
/// pivots. Values depend on the seed and a tensor's name only.
void initialise(Parameters& parameters, const DecoderConfig& config, std::uint64_t seed);

}  // namespace talpa::nn
