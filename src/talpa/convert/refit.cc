// K experts of a group, M expert width, D model width, R latent width.
#include "talpa/convert/refit.h"

#include <torch/torch.h>

#include "talpa/convert/eigen.h"

namespace talpa::convert {

namespace {

constexpr int kConjugateSteps = 10;

/// (B R B^T)^-1 B R, transposed: what left factors are to W for a right factor B in the metric R.
at::Tensor refit_map(const at::Tensor& right_RD, const at::Tensor& metric_DD) {
  const at::Tensor image_DR = metric_DD.matmul(right_RD.t());
  const at::Tensor normal_RR = right_RD.matmul(image_DR);
  return torch::cholesky_solve(image_DR.t(), cholesky_factor(normal_RR)).t();
}

at::Tensor inverse_of(const at::Tensor& matrix) {
  return torch::cholesky_inverse(cholesky_factor(matrix));
}

double dot_of(const at::Tensor& a, const at::Tensor& b) { return (a * b).sum().item<double>(); }

/// sum_i L_i B R_i = T, the equations of B for given left factors: L_i = A_i^T D_i A_i summed over
/// the sides of expert i.
class RightEquations {
 public:
  RightEquations(const GroupInput& input, const GroupFactors& factors) {
    for (std::size_t k = 0; k < input.members.size(); ++k) {
      metric_KDD_.push_back(input.metric->input(input.members[k]));
      at::Tensor left_RR, seen_RD;
      for (std::size_t s = 0; s < input.sides.size(); ++s) {
        const at::Tensor rows_M = input.metric->rows(input.sides[s], input.members[k]);
        const at::Tensor left_MR =
            factors.left_KMR[s][static_cast<std::int64_t>(k)].to(torch::kDouble);
        const at::Tensor weighted_RM = left_MR.t() * rows_M;
        add(left_RR, weighted_RM.matmul(left_MR));
        add(seen_RD, weighted_RM.matmul(input.expert_MD(s, k).to(torch::kDouble)));
      }
      left_KRR_.push_back(left_RR);
      add(target_RD_, seen_RD.matmul(metric_KDD_.back()));
      add(left_sum_, left_RR);
      add(metric_sum_, metric_KDD_.back());
    }
  }

  at::Tensor residual(const at::Tensor& right_RD) const { return target_RD_ - apply(right_RD); }

  at::Tensor apply(const at::Tensor& right_RD) const {
    at::Tensor sum_RD;
    for (std::size_t k = 0; k < left_KRR_.size(); ++k)
      add(sum_RD, left_KRR_[k].matmul(right_RD).matmul(metric_KDD_[k]));
    return sum_RD;
  }

  const at::Tensor& left_sum() const { return left_sum_; }
  const at::Tensor& metric_sum() const { return metric_sum_; }

 private:
  static void add(at::Tensor& sum, const at::Tensor& term) {
    sum = sum.defined() ? sum + term : term;
  }

  std::vector<at::Tensor> left_KRR_, metric_KDD_;
  at::Tensor target_RD_, left_sum_, metric_sum_;
};

/// Conjugate gradients from `right_RD`, preconditioned as if all L_i and R_i were their means.
at::Tensor improve_right(const RightEquations& equations, at::Tensor right_RD) {
  const at::Tensor left_RR = inverse_of(equations.left_sum());
  const at::Tensor metric_DD = inverse_of(equations.metric_sum());
  at::Tensor residual_RD = equations.residual(right_RD);
  at::Tensor step_RD = left_RR.matmul(residual_RD).matmul(metric_DD);
  double size = dot_of(residual_RD, step_RD);
  for (int i = 0; i < kConjugateSteps && size > 0; ++i) {
    const at::Tensor image_RD = equations.apply(step_RD);
    const double curvature = dot_of(step_RD, image_RD);
    if (!(curvature > 0)) break;
    right_RD = right_RD + step_RD * (size / curvature);
    residual_RD = residual_RD - image_RD * (size / curvature);
    const at::Tensor next_RD = left_RR.matmul(residual_RD).matmul(metric_DD);
    const double next = dot_of(residual_RD, next_RD);
    step_RD = next_RD + step_RD * (next / size);
    size = next;
  }
  return right_RD;
}

}  // namespace

at::Tensor orthonormal_rows(const at::Tensor& rows_RD) {
  return std::get<0>(torch::linalg_qr(rows_RD.t())).t();
}

void refit_inputs(const GroupInput& input, GroupFactors& factors) {
  const bool own = input.metric->has_expert_inputs();
  at::Tensor map_DR;
  if (!own) map_DR = refit_map(factors.right_RD, input.metric->input(input.members));
  factors.left_KMR.clear();
  const at::Tensor first_MD = input.expert_MD(0, 0);
  const auto group_size = static_cast<std::int64_t>(input.members.size());
  for (std::size_t s = 0; s < input.sides.size(); ++s)
    factors.left_KMR.push_back(torch::empty({group_size, first_MD.size(0), input.latent_dim},
                                            solving_type(first_MD.size(1))));
  for (std::size_t k = 0; k < input.members.size(); ++k) {
    if (own) map_DR = refit_map(factors.right_RD, input.metric->input(input.members[k]));
    for (std::size_t s = 0; s < input.sides.size(); ++s)
      factors.left_KMR[s][static_cast<std::int64_t>(k)].copy_(
          input.expert_MD(s, k).to(torch::kDouble).matmul(map_DR));
  }
}

void refine_inputs(const GroupInput& input, GroupFactors& factors) {
  for (int round = 0; round < input.refine; ++round) {
    const RightEquations equations(input, factors);
    factors.right_RD = orthonormal_rows(improve_right(equations, factors.right_RD));
    refit_inputs(input, factors);
  }
}

}  // namespace talpa::convert
