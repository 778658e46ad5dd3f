#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/model/weights.h"

namespace talpa {

/// True for ".moe.*_pivot": a mask that says where rows stand, not a parameter to train.
bool is_pivot(std::string_view name);

/// Where the rows of U_j come from (SLBF after gauge fixing; U' of down: columns). G bases, r
/// latent width, k_b rank: element [j * r + i] is the row of [I; basis_j], r rows of k_b, that row
/// i of U_j is. `mask_Gr` has ones at the rows of the identity, zeros elsewhere. Throws kFormat
/// naming `name` when the mask holds anything else, or not k_b ones for every basis.
std::vector<std::int32_t> basis_order(std::span<const float> mask_Gr, int latent_dim,
                                      int basis_rank, const std::string& name);
/// Of the tensor `name` of a model, e.g. "layers.3.moe.gate_pivot".
std::vector<std::int32_t> basis_order(const ModelFiles& files, const std::string& name);

}  // namespace talpa
