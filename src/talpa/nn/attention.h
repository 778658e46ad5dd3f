#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/rotary.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {

struct AttentionOptions {
  AttentionConfig config;
  double norm_eps = 1e-5;
  /// Bool [B, 1, T, T], true where a query (second last) may see a key; undefined: all before it.
  at::Tensor mask;
};

/// The mask of sequences of several documents, from the document of every position, int64 [B, T]:
/// a query sees what is not behind it in its own document.
at::Tensor document_mask(const at::Tensor& documents_BT);

/// Causal grouped-query self-attention of x [B, T, n] with rotary positions [0, T); parameters
/// q, k, v, o and, where the description has them, q_bias, k_bias, v_bias, q_norm, k_norm.
/// Order as in the families: project, norm, clip, rotate, attend.
at::Tensor attention(const at::Tensor& x_BTD, const Scope& parameters, const RotaryTables& tables,
                     const AttentionOptions& options);

}  // namespace talpa::nn
