#pragma once

#include <optional>
#include <string>

#include "talpa/kernel/experts.h"
#include "talpa/model/weights.h"

namespace talpa {

/// Experts on mixed bases (MoBE eq. 4, SLBF) multiplied out, one at a time:
///   gate, up: W_i = A_i f(sum_j mix_ij B_j)     down: W_i = f(sum_j mix_ij C_j) D_i.
/// `prefix` is "layers.L.moe.". What is not factored is packed as it is.
ExpertWeights materialise_mixed_experts(const ModelFiles& files, const std::string& prefix,
                                        std::optional<DType> wanted, ThreadPool& pool);

}  // namespace talpa
