#pragma once

#include <span>
#include <vector>

#include "talpa/engine/model.h"

namespace talpa {

/// The vector of length 1 in the direction of `sum`, which may be a mean; zeros stay zeros. Throws
/// kFormat when it is not finite.
std::vector<float> unit_vector(std::span<const double> sum);

/// One vector for each text: the mean of its tokens' hidden states behind the last norm, at length
/// 1. Texts are fed together in bounded steps. Throws kUsage for a text that is empty and as
/// Model::forward.
std::vector<std::vector<float>> embed_texts(Model& model,
                                            std::span<const std::vector<TokenId>> texts);

}  // namespace talpa
