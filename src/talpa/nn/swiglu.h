#pragma once

#include <ATen/core/Tensor.h>

namespace talpa::nn {

/// silu(gate) * up (Shazeer 2020, eq. 6) of one shape [S, m]; times weight_S [S] a row where it
/// is defined. One pass each way for fp32 and fp64 on a CPU; gates and ups are kept for the
/// gradient, products are not.
at::Tensor swiglu(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                  const at::Tensor& weight_S = {});

/// The value alone, without autograd: weight_S [S] is defined.
at::Tensor swiglu_value(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                        const at::Tensor& weight_S);
/// Gradients of hidden = weight silu(gate) up by the gradient of hidden, without autograd, and
/// hidden itself once more. Widths and types as in swiglu().
struct SwigluGradient {
  at::Tensor gate_SM, up_SM, weight_S, hidden_SM;
};
SwigluGradient swiglu_gradient(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                               const at::Tensor& weight_S, const at::Tensor& dhidden_SM);

/// The same composed of autograd's own operations, for any type and device.
at::Tensor swiglu_reference(const at::Tensor& gate_SM, const at::Tensor& up_SM,
                            const at::Tensor& weight_S = {});

}  // namespace talpa::nn
