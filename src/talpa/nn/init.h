#pragma once

#include <cstdint>
#include <utility>

#include "talpa/base/config.h"
#include "talpa/model/decoder_config.h"
#include "talpa/nn/decoder.h"

namespace talpa::nn {

/// Standard deviation of feed-forward and expert matrices; all others start at 0.02.
enum class InitialScale : std::uint8_t {
  kFixed,  ///< 0.02 (GPT-2), about kFanIn's at widths of thousands
  kFanIn,  ///< 1 / sqrt(inputs), which keeps the scale of activations at every width
};

}  // namespace talpa::nn

namespace talpa {
template <>
struct EnumNames<nn::InitialScale> {
  static constexpr std::pair<nn::InitialScale, const char*> table[] = {
      {nn::InitialScale::kFixed, "fixed"}, {nn::InitialScale::kFanIn, "fan_in"}};
};
}  // namespace talpa

namespace talpa::nn {

/// Fills parameters: normal at the scale, residual outputs divided by sqrt(2 layers), norms one,
/// biases zero. A factored matrix A B gets the variance of the dense one: shared equally by its
/// factors at a fixed scale, each at its own inputs with kFanIn. Bases under a nonlinearity start
/// at unit variance, where it bends, and mixes at their own group. Low-rank bases have that
/// variance in all their rows, the first k_b being the pivots. Values depend on the seed and a
/// tensor's name only.
void initialise(Parameters& parameters, const DecoderConfig& config, std::uint64_t seed,
                InitialScale scale = InitialScale::kFixed);

}  // namespace talpa::nn
