#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/moe/balance.h"
#include "talpa/nn/moe/expert_ranks.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {

struct MoeOutput {
  at::Tensor y_TD;
  at::Tensor balance_loss;                    ///< 0-dim
  at::Tensor z_loss;                          ///< 0-dim
  std::vector<std::int64_t> rows_per_expert;  ///< [N], of all processes that share the batch
  at::Tensor bias_shift_N;                    ///< quantile_shift, if asked for
};

/// One MoE layer on rows x [T, n]; `layer` scopes moe.* and shared.*. Where processes share the
/// batch, the mean of their losses, each weighed by its rows, is that of the batch.
MoeOutput moe_layer(const at::Tensor& x_TD, const Scope& layer, const MoeConfig& config,
                    const BalanceOptions& balance = {}, ExpertRanks* experts = nullptr);

}  // namespace talpa::nn
