#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "talpa/convert/method.h"
#include "talpa/format/dtype.h"

namespace talpa::convert {

/// Tensors as their bytes, by the names of LayerFit::tensors.
using EncodedTensors = std::map<std::string, std::vector<std::byte>>;

/// Rounds a layer's experts to `types` (rounding.h), in the order of dependence: of linear factors
/// the one that sees the input first, of mixed bases what is shared; what every expert has for
/// itself is fitted again to the original on what the rounded rest stands for. With statistics
/// errors are passed on in the moments of what a matrix is applied to. `latent` describes `fit`,
/// whose tensors become what the bytes stand for and whose errors are measured again.
EncodedTensors round_layer(const LayerExperts& experts, const LatentConfig& latent,
                           const ExpertTypes& types, LayerFit& fit);

}  // namespace talpa::convert
