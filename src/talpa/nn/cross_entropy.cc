// T rows (C of a chunk), D model width, V vocabulary.
#include "talpa/nn/cross_entropy.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "talpa/base/error.h"
#include "talpa/kernel/implementation.h"
#include "talpa/nn/moe/grouped_products.h"
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

/// Losses of rows of logits as a sum; with `gradient`, logits become `scale` times its gradient.
at::Tensor loss_of_rows(at::Tensor& logits_CV, const at::Tensor& targets_C, double scale,
                        bool gradient) {
  const at::Tensor counted_C1 = targets_C.ne(kIgnoredTarget).unsqueeze(1);
  const at::Tensor target_C1 = targets_C.clamp_min(0).unsqueeze(1);
  at::Tensor log_probs_CV = at::log_softmax(widen(logits_CV), 1);
  const at::Tensor loss = -(log_probs_CV.gather(1, target_C1) * counted_C1).sum();
  if (!gradient) return loss;
  at::Tensor dlogits_CV = log_probs_CV.exp_();
  dlogits_CV.scatter_add_(1, target_C1,
                          at::full({1}, -1, dlogits_CV.options()).expand_as(target_C1));
  dlogits_CV.mul_(counted_C1.to(dlogits_CV.scalar_type()) * scale);
  logits_CV = dlogits_CV.to(logits_CV.scalar_type());
  return loss;
}

/// The same of fp32 on a CPU, row by row while it is in cache.
at::Tensor loss_of_float_rows(at::Tensor& logits_CV, const at::Tensor& targets_C, double scale) {
  const kernel::RowFunctions& functions = kernel::row_functions();
  const std::int64_t width = logits_CV.size(1);
  at::Tensor losses_C = at::zeros({logits_CV.size(0)}, logits_CV.options());
  const std::int64_t* targets = targets_C.const_data_ptr<std::int64_t>();
  float *rows = logits_CV.data_ptr<float>(), *losses = losses_C.data_ptr<float>();
  at::parallel_for(0, logits_CV.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) {
      float* row = rows + r * width;
      if (targets[r] == kIgnoredTarget) {
        std::fill_n(row, width, 0.0f);
        continue;
      }
      const float largest = functions.max(row, width), target = row[targets[r]];
      const float sum = functions.exp(row, 1, largest, width);
      losses[r] = std::log(sum) + largest - target;
      const float factor = static_cast<float>(scale) / sum;
      for (std::int64_t i = 0; i < width; ++i) row[i] *= factor;
      row[targets[r]] -= static_cast<float>(scale);
    }
  });
  return losses_C.sum();
}

/// The head [V, D], and sums of loss and gradients over chunks of rows.
class ChunkedLoss {
 public:
  ChunkedLoss(const at::Tensor& x_TD, const at::Tensor& head_VD, const at::Tensor& targets_T,
              bool with_gradient)
      : x_TD_(x_TD),
        targets_T_(targets_T.contiguous()),
        logits_of_rows_(head_VD.unsqueeze(0), Multiply::kTransposed),
        num_classes_(head_VD.size(0)) {
    const at::Tensor ignored_T = targets_T.eq(kIgnoredTarget);
    TALPA_CHECK(((targets_T.ge(0) & targets_T.lt(num_classes_)) | ignored_T).all().item<bool>());
    const auto count = ignored_T.logical_not().sum().item<std::int64_t>();
    scale_ = count > 0 ? 1.0 / static_cast<double>(count) : 0;
    loss_ = at::zeros({}, x_TD.options().dtype(wide_type(x_TD.scalar_type())));
    if (!with_gradient) return;
    rows_of_logits_.emplace(head_VD.unsqueeze(0), Multiply::kPlain);
    dx_TD_ = at::empty_like(x_TD);
    // Turned, so that the long rows of logits are read along and not across.
    dhead_1DV_ = at::zeros({1, head_VD.size(1), num_classes_}, head_VD.options());
  }

  void add(std::int64_t first, std::int64_t count) {
    const std::vector<std::int64_t> all{0, count};
    const at::Tensor x_CD = x_TD_.narrow(0, first, count);
    const at::Tensor targets_C = targets_T_.narrow(0, first, count);
    at::Tensor logits_CV = at::empty({count, num_classes_}, x_CD.options());
    logits_of_rows_.multiply(all, {x_CD}, logits_CV);
    loss_ += is_float_on_cpu(logits_CV)
                 ? loss_of_float_rows(logits_CV, targets_C, scale_)
                 : loss_of_rows(logits_CV, targets_C, scale_, rows_of_logits_.has_value());
    if (!rows_of_logits_) return;
    at::Tensor dx_CD = dx_TD_.narrow(0, first, count);
    rows_of_logits_->multiply(all, {logits_CV}, dx_CD);
    multiply_outer(all, {x_CD}, {logits_CV}, dhead_1DV_, /*accumulate=*/true);
  }

  at::Tensor mean() const { return loss_ * scale_; }
  variable_list gradients() const {
    if (!rows_of_logits_) return {at::Tensor(), at::Tensor()};
    return {dx_TD_, dhead_1DV_[0].t().contiguous()};
  }

 private:
  at::Tensor x_TD_, targets_T_;
  PackedMatrices logits_of_rows_;
  std::optional<PackedMatrices> rows_of_logits_;  ///< with gradients
  std::int64_t num_classes_;
  double scale_ = 0;
  at::Tensor loss_, dx_TD_, dhead_1DV_;
};

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_TD,
                            const at::Tensor& head_VD, const at::Tensor& targets_T,
                            bool with_gradient) {
    ChunkedLoss loss(x_TD, head_VD, targets_T, with_gradient);
    const std::int64_t rows = rows_of_chunk(head_VD);
    for (std::int64_t first = 0; first < x_TD.size(0); first += rows)
      loss.add(first, std::min(rows, x_TD.size(0) - first));
    context->save_for_backward(loss.gradients());
    return loss.mean();
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
  return LinearCrossEntropy::apply(x_TD.contiguous(), head_VD.contiguous(), targets_T,
                                   with_gradient);
}

}  // namespace talpa::nn
