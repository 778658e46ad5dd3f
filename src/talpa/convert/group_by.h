#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/convert/layer_experts.h"
#include "talpa/convert/options.h"

namespace talpa::convert {

/// [N, N]: sum over sides of |Q_i Q_j^T|_F^2, where Q_i has the `directions` leading right singular
/// vectors of expert i as rows. Between 0 and sides * directions.
at::Tensor row_space_overlap(const LayerExperts& experts, const std::vector<Side>& sides,
                             std::int64_t directions);

/// Experts in an order in which every `group_size` consecutive ones are a group, for a large
/// overlap within groups: greedily, then by exchanging pairs as long as that helps. Ties go to
/// the lowest number.
std::vector<std::int64_t> balanced_groups(const at::Tensor& overlap_NN, std::int64_t group_size);

/// The order that `group_by` asks for.
std::vector<std::int64_t> expert_order(const LayerExperts& experts, const std::vector<Side>& sides,
                                       const LatentConfig& latent, GroupBy group_by);

}  // namespace talpa::convert
