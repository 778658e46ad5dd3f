// N experts, C experts of a chunk, G bases, M expert width, R latent width, D model width, K rank
// of a basis.
#include "talpa/convert/bases_objective.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/convert/eigen.h"

namespace talpa::convert {

namespace {

/// Matrices [R, D] of an expert that are alive at once in a pass.
constexpr std::int64_t kLiveMatrices = 6;

at::Tensor activation_gradient(const at::Tensor& gradient, const at::Tensor& mixed,
                               const at::Tensor& formed, BasisActivation activation) {
  switch (activation) {
    case BasisActivation::kSilu:
      return at::silu_backward(gradient, mixed);
    case BasisActivation::kTanh:
      return at::tanh_backward(gradient, formed);
    case BasisActivation::kNone:
      break;
  }
  return gradient;
}

at::Tensor softmax_gradient(const at::Tensor& gradient_NG, const at::Tensor& mix_NG) {
  return mix_NG * (gradient_NG - (gradient_NG * mix_NG).sum(1, true));
}

/// A of Z H (`seen`), Z (`formed`) and W H (`target`).
at::Tensor solved_own(const at::Tensor& seen_CRD, const at::Tensor& formed_CRD,
                      const at::Tensor& target_CMD, double ridge) {
  at::Tensor gram_CRR = at::bmm(seen_CRD, formed_CRD.transpose(1, 2));
  at::Tensor diagonal_CR = gram_CRR.diagonal(0, 1, 2);
  diagonal_CR.add_(diagonal_CR.mean(1, true) * ridge);
  const at::Tensor factor_CRR = std::get<0>(at::linalg_cholesky_ex(gram_CRR));
  const at::Tensor right_CRM = at::bmm(formed_CRD, target_CMD.transpose(1, 2));
  return at::cholesky_solve(right_CRM, factor_CRR).transpose(1, 2);
}

}  // namespace

struct BasesObjective::Chunk {
  std::int64_t first, count;
  at::Tensor of(const at::Tensor& stack) const { return stack.narrow(0, first, count); }
};

BasesTarget::BasesTarget(const at::Tensor& experts_NMD)
    : shape{experts_NMD.size(0), experts_NMD.size(1), experts_NMD.size(2)},
      read_CMD([all = experts_NMD.contiguous()](std::int64_t first, std::int64_t count) {
        return all.narrow(0, first, count);
      }) {}

BasesObjective::BasesObjective(BasesTarget target, BasesMetric metric, std::int64_t chunk_bytes)
    : target_(std::move(target)), metric_(std::move(metric)), chunk_bytes_(chunk_bytes) {
  const torch::NoGradGuard no_grad;
  const auto [experts, rows, columns] = target_.shape;
  double sum = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    const Chunk one{e, 1};
    const at::Tensor target_1MD = target_.read_CMD(e, 1);
    const at::Tensor seen_1MD = through_columns(target_1MD, one);
    if (metric_.over_columns.defined()) {
      if (e == 0) seen_target_NMD_ = torch::empty({experts, rows, columns}, target_1MD.options());
      one.of(seen_target_NMD_).copy_(seen_1MD);
    }
    const at::Tensor pull = weighted(through_rows(seen_1MD, one), one);
    sum += (pull * target_1MD).sum(torch::kDouble).item<double>();
  }
  scale_ = static_cast<double>(target_.numel()) / std::max(sum, 1e-300);
}

at::Tensor BasesObjective::weighted(const at::Tensor& x, const Chunk& chunk) const {
  return metric_.weight_N.defined() ? x * chunk.of(metric_.weight_N).view({-1, 1, 1}) : x;
}

at::Tensor BasesObjective::through_columns(const at::Tensor& x, const Chunk& chunk) const {
  const at::Tensor& metric = metric_.over_columns;
  if (!metric.defined()) return x;
  return metric.size(0) == 1 ? at::matmul(x, metric[0]) : at::bmm(x, chunk.of(metric));
}

at::Tensor BasesObjective::through_rows(const at::Tensor& x, const Chunk& chunk) const {
  const at::Tensor& metric = metric_.over_rows;
  if (!metric.defined()) return x;
  return metric.dim() == 2 ? x * chunk.of(metric).unsqueeze(2) : at::bmm(chunk.of(metric), x);
}

/// One evaluation of all experts.
class BasesObjective::Pass {
 public:
  struct Wanted {
    bool loss = true, gradients = true;
  };

  Pass(const BasesObjective& objective, const MixedBases& bases, Wanted wanted, double ridge = 0,
       double noise = 0)
      : objective_(objective), bases_(bases), ridge_(ridge), noise_(noise), wanted_(wanted) {
    mix_NG_ = bases.mix_NG();
    bases_GRD_ = bases.bases_GRD();
    result_.loss = torch::zeros({}, mix_NG_.options());
    if (!wanted.gradients) return;
    mix_gradient_NG_ = torch::empty_like(mix_NG_);
    bases_gradient_GX_ = torch::zeros_like(bases_GRD_).flatten(1);
    if (ridge == 0) result_.of["own"] = torch::empty_like(bases.own_NMR);
  }

  Gradients run() {
    const std::int64_t experts = mix_NG_.size(0);
    const std::int64_t matrix_bytes =
        bases_GRD_[0].numel() * static_cast<std::int64_t>(bases_GRD_.element_size());
    const std::int64_t count = std::clamp(objective_.chunk_bytes_ / (kLiveMatrices * matrix_bytes),
                                          std::int64_t{1}, experts);
    for (std::int64_t first = 0; first < experts; first += count)
      evaluate({first, std::min(count, experts - first)});
    result_.loss *= objective_.scale_ / static_cast<double>(objective_.target_.numel());
    if (wanted_.gradients) finish();
    return std::move(result_);
  }

 private:
  void evaluate(const Chunk& chunk) {
    const BasesObjective& o = objective_;
    const at::Tensor mixed_CRD = at::mm(chunk.of(mix_NG_), bases_GRD_.flatten(1))
                                     .view({chunk.count, bases_GRD_.size(1), bases_GRD_.size(2)});
    const at::Tensor formed_CRD = activated(mixed_CRD, bases_.activation);
    const at::Tensor seen_CRD = o.through_columns(formed_CRD, chunk);
    const at::Tensor own_CMR = chunk.of(bases_.own_NMR);
    const at::Tensor& seen_target_NMD = o.seen_target_NMD_;
    at::Tensor target_CMD;
    if (wanted_.loss || !seen_target_NMD.defined())
      target_CMD = o.target_.read_CMD(chunk.first, chunk.count);
    const at::Tensor seen_target_CMD =
        seen_target_NMD.defined() ? chunk.of(seen_target_NMD) : target_CMD;
    if (ridge_ > 0)
      own_CMR.copy_(solved_own(seen_CRD, formed_CRD, seen_target_CMD, ridge_ + noise_));
    if (!wanted_.loss && !wanted_.gradients) return;
    at::Tensor pull_CMD = at::baddbmm(seen_target_CMD, own_CMR, seen_CRD, -1, 1);
    pull_CMD = o.weighted(o.through_rows(pull_CMD, chunk), chunk);
    if (wanted_.loss) {
      const at::Tensor error_CMD = at::baddbmm(target_CMD, own_CMR, formed_CRD, -1, 1);
      result_.loss += at::dot(error_CMD.flatten(), pull_CMD.flatten());
      if (noise_ > 0) result_.loss += penalty(chunk, formed_CRD, seen_CRD);
    }
    if (wanted_.gradients) accumulate(chunk, mixed_CRD, formed_CRD, pull_CMD, seen_CRD);
  }

  /// Of each expert, what noise mean(diag Z H Z^T) |A|^2 has beside tr(Z H Z^T): [C, 1, 1].
  at::Tensor noise_of_experts(const Chunk& chunk) const {
    const at::Tensor own_CMR = chunk.of(bases_.own_NMR);
    const at::Tensor squares_CMR = own_CMR * objective_.through_rows(own_CMR, chunk);
    return objective_.weighted(squares_CMR, chunk).sum({1, 2}, /*keepdim=*/true) *
           (noise_ / static_cast<double>(own_CMR.size(2)));
  }

  at::Tensor penalty(const Chunk& chunk, const at::Tensor& formed_CRD,
                     const at::Tensor& seen_CRD) const {
    return ((formed_CRD * seen_CRD).sum({1, 2}, /*keepdim=*/true) * noise_of_experts(chunk)).sum();
  }

  void accumulate(const Chunk& chunk, const at::Tensor& mixed_CRD, const at::Tensor& formed_CRD,
                  const at::Tensor& pull_CMD, const at::Tensor& seen_CRD) {
    if (ridge_ == 0)
      chunk.of(result_.of["own"]).copy_(at::bmm(pull_CMD, formed_CRD.transpose(1, 2)));
    at::Tensor formed_gradient_CRD = at::bmm(chunk.of(bases_.own_NMR).transpose(1, 2), pull_CMD);
    if (noise_ > 0) formed_gradient_CRD += seen_CRD * noise_of_experts(chunk);
    const at::Tensor mixed_gradient_CX =
        activation_gradient(formed_gradient_CRD, mixed_CRD, formed_CRD, bases_.activation)
            .flatten(1);
    chunk.of(mix_gradient_NG_).copy_(at::mm(mixed_gradient_CX, bases_GRD_.flatten(1).t()));
    bases_gradient_GX_.addmm_(chunk.of(mix_NG_).t(), mixed_gradient_CX);
  }

  /// From mixes and bases to what they are made of, and the factors that all gradients lack.
  void finish() {
    auto& of = result_.of;
    of["logits"] = softmax_gradient(mix_gradient_NG_, mix_NG_);
    const at::Tensor bases_gradient_GRD = bases_gradient_GX_.view_as(bases_GRD_);
    if (bases_.low_rank()) {
      of["left"] = at::bmm(bases_gradient_GRD, bases_.right_GKD.transpose(1, 2));
      of["right"] = at::bmm(bases_.left_GRK.transpose(1, 2), bases_gradient_GRD);
    } else {
      of["whole"] = bases_gradient_GRD;
    }
    for (auto& [name, gradient] : of) gradient.mul_(2 * objective_.scale_);
  }

  const BasesObjective& objective_;
  const MixedBases& bases_;
  const double ridge_, noise_;
  const Wanted wanted_;
  at::Tensor mix_NG_, bases_GRD_, mix_gradient_NG_, bases_gradient_GX_;
  Gradients result_;
};

at::Tensor BasesObjective::loss(const MixedBases& bases) const {
  const torch::NoGradGuard no_grad;
  return Pass(*this, bases, {.gradients = false}).run().loss;
}

BasesObjective::Gradients BasesObjective::gradients(const MixedBases& bases, bool with_loss) const {
  const torch::NoGradGuard no_grad;
  return Pass(*this, bases, {.loss = with_loss}).run();
}

BasesObjective::Gradients BasesObjective::gradients_with_exact_own(MixedBases& bases, double ridge,
                                                                   double noise,
                                                                   bool with_loss) const {
  const torch::NoGradGuard no_grad;
  TALPA_CHECK(ridge > 0);
  return Pass(*this, bases, {.loss = with_loss}, ridge, noise).run();
}

void BasesObjective::solve_own(MixedBases& bases, double ridge, double noise) const {
  const torch::NoGradGuard no_grad;
  TALPA_CHECK(ridge > 0);
  Pass(*this, bases, {.loss = false, .gradients = false}, ridge, noise).run();
}

at::Tensor least_squares_own(const at::Tensor& target_MD, const at::Tensor& formed_RD,
                             const at::Tensor& over_columns_DD) {
  const at::Tensor z_RD = formed_RD.to(torch::kDouble);
  const at::Tensor seen_RD =
      over_columns_DD.defined() ? z_RD.matmul(over_columns_DD.to(torch::kDouble)) : z_RD;
  const at::Tensor gram_RR = seen_RD.matmul(z_RD.t());
  const at::Tensor right_RM = seen_RD.matmul(target_MD.to(torch::kDouble).t());
  return at::cholesky_solve(right_RM, cholesky_factor((gram_RR + gram_RR.t()) / 2)).t();
}

}  // namespace talpa::convert
