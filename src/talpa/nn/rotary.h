#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// cos and sin of position * theta^(-2i/h) for positions [0, T): fp32, as Hugging Face computes
/// them. Heads of width h = head_dim.
struct RotaryTables {
  at::Tensor cos_TF;  ///< F = h / 2 frequencies
  at::Tensor sin_TF;
};
RotaryTables rotary_tables(std::int64_t num_positions, int head_dim, double theta);

/// Rotary embedding (Su et al. 2021, eq. 34) of x [B, T, H, h] in the half-split convention:
/// dimension i turns with dimension i + h/2. One pass each way for fp32 and fp64 on a CPU.
at::Tensor rotate(const at::Tensor& x_BTHh, const RotaryTables& tables);

/// The same composed of autograd's own operations, for any type and device.
at::Tensor rotate_reference(const at::Tensor& x_BTHh, const RotaryTables& tables);

}  // namespace talpa::nn
