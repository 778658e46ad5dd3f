#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/rotary.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {

struct AttentionOptions {
  AttentionConfig config;
  double norm_eps = 1e-5;
};

/// Causal grouped-query self-attention of x [B, T, n] with rotary positions [0, T); parameters
/// q, k, v, o and, where the description has them, q_bias, k_bias, v_bias, q_norm, k_norm.
/// Order as in the families: project, norm, clip, rotate, attend.
at::Tensor attention(const at::Tensor& x_BTD, const Scope& parameters, const RotaryTables& tables,
                     const AttentionOptions& options);

}  // namespace talpa::nn
