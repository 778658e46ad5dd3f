#pragma once

#include <torch/torch.h>

#include "talpa/nn/moe/router.h"

namespace talpa::testing {

/// The plain loop over experts, as model code in Python has it, composed of autograd's own
/// operations: what the fused operations are measured against. Latent experts go through
/// `gate_in`, `up_in` [G, r, n] and `down_out` [G, n, r] where they are defined.
struct PlainExperts {
  at::Tensor gate, up, down, gate_in, up_in, down_out;

  at::Tensor run(const at::Tensor& x_TD, const nn::Routing& routing) const {
    at::Tensor y_TD = at::zeros_like(x_TD);
    for (std::int64_t e = 0; e < gate.size(0); ++e) {
      const std::int64_t first = routing.offsets[e], count = routing.offsets[e + 1] - first;
      const at::Tensor rows = routing.slots.index.narrow(0, first, count);
      const at::Tensor x = x_TD.index_select(0, rows);
      const at::Tensor g = at::linear(through(x, gate_in, e), gate[e]);
      const at::Tensor u = at::linear(through(x, up_in, e), up[e]);
      const at::Tensor y = through(at::linear(at::silu(g) * u, down[e]), down_out, e);
      y_TD.index_add_(0, rows, y * routing.weight_S.narrow(0, first, count).unsqueeze(1));
    }
    return y_TD;
  }

 private:
  at::Tensor through(const at::Tensor& x, const at::Tensor& projection, std::int64_t e) const {
    return projection.defined() ? at::linear(x, projection[e * projection.size(0) / gate.size(0)])
                                : x;
  }
};

}  // namespace talpa::testing
