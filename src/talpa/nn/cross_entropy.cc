// T rows (C of a chunk), D model width, V vocabulary.
#include "talpa/nn/cross_entropy.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/nn/precision.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits of a chunk stay in cache where they can. Every chunk also passes over the head's
// gradient [V, n], so a chunk has no fewer rows than the model is wide.
std::int64_t rows_of_chunk(const at::Tensor& head_VD) {
  constexpr std::int64_t kElements = 1 << 19;
  return std::max(head_VD.size(1), kElements / head_VD.size(0));
}

struct Gradients {
  at::Tensor dx_TD, dhead_VD;
};

// Loss of rows [first, first + count) as a sum; gradients of `scale` times that.
at::Tensor chunk_loss(const at::Tensor& x_CD, const at::Tensor& head_VD,
                      const at::Tensor& targets_C, double scale, at::Tensor dx_CD,
                      at::Tensor& dhead_VD) {
  const at::Tensor counted_C1 = targets_C.ne(kIgnoredTarget).unsqueeze(1);
  const at::Tensor target_C1 = targets_C.clamp_min(0).unsqueeze(1);
  at::Tensor log_probs_CV = at::log_softmax(widen(at::mm(x_CD, head_VD.t())), 1);
  const at::Tensor loss = -(log_probs_CV.gather(1, target_C1) * counted_C1).sum();
  if (!dx_CD.defined()) return loss;
  at::Tensor dlogits_CV = log_probs_CV.exp_();
  dlogits_CV.scatter_add_(1, target_C1,
                          at::full({1}, -1, dlogits_CV.options()).expand_as(target_C1));
  dlogits_CV.mul_(counted_C1.to(dlogits_CV.scalar_type()) * scale);
  dlogits_CV = dlogits_CV.to(x_CD.scalar_type());
  at::mm_out(dx_CD, dlogits_CV, head_VD);
  dhead_VD.addmm_(dlogits_CV.t(), x_CD);
  return loss;
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_TD,
                            const at::Tensor& head_VD, const at::Tensor& targets_T,
                            bool with_gradient) {
    const auto count = targets_T.ne(kIgnoredTarget).sum().item<std::int64_t>();
    const double scale = count > 0 ? 1.0 / static_cast<double>(count) : 0;
    const std::int64_t rows = rows_of_chunk(head_VD);
    Gradients gradients;
    if (with_gradient) gradients = {at::empty_like(x_TD), at::zeros_like(head_VD)};
    at::Tensor loss = at::zeros({}, x_TD.options().dtype(wide_type(x_TD.scalar_type())));
    for (std::int64_t first = 0; first < x_TD.size(0); first += rows) {
      const auto length = std::min(rows, x_TD.size(0) - first);
      const at::Tensor dx_CD =
          with_gradient ? gradients.dx_TD.narrow(0, first, length) : at::Tensor();
      loss += chunk_loss(x_TD.narrow(0, first, length), head_VD, targets_T.narrow(0, first, length),
                         scale, dx_CD, gradients.dhead_VD);
    }
    context->save_for_backward({gradients.dx_TD, gradients.dhead_VD});
    return loss.mul_(scale);
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    const auto saved = context->get_saved_variables();
    const at::Tensor factor = upstream[0].to(saved[0].scalar_type());
    return {saved[0] * factor, saved[1] * factor, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& head_VD,
                                const at::Tensor& targets_T) {
  const bool with_gradient =
      at::GradMode::is_enabled() && (x_TD.requires_grad() || head_VD.requires_grad());
  return LinearCrossEntropy::apply(x_TD.contiguous(), head_VD, targets_T, with_gradient);
}

}  // namespace talpa::nn
