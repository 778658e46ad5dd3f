// N experts, M expert width, D model width, R rank of a difference.
#include "talpa/convert/delta.h"

#include <torch/torch.h>

#include <cmath>

#include "talpa/base/stopwatch.h"
#include "talpa/convert/eigen.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/metric.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

std::int64_t params_of(const DecoderConfig& config, std::int64_t rank) {
  const std::int64_t m = config.moe.hidden_dim, n = config.dim;
  return 3 * (m * n + config.moe.num_experts * rank * (m + n));
}

std::int64_t planned_rank(const DecoderConfig& original, const ConvertOptions& options) {
  const std::int64_t m = original.moe.hidden_dim, n = original.dim, N = original.moe.num_experts;
  if (options.latent.latent_dim > 0 && options.budget > 0)
    fail(ErrorCode::kUsage, "give a rank (--latent-dim) or a budget, not both");
  std::int64_t rank = options.latent.latent_dim;
  if (rank == 0) {
    check_budget(options, "a rank (--latent-dim)");
    const double left =
        options.budget * static_cast<double>(N * m * n) - static_cast<double>(m * n);
    rank = static_cast<std::int64_t>(std::floor(left / static_cast<double>(N * (m + n))));
  }
  if (rank < 1 || params_of(original, rank) >= 3 * N * m * n)
    fail(ErrorCode::kConfig,
         "a base and differences of rank {} do not take less than {} experts of {} x {}", rank, N,
         m, n);
  return rank;
}

/// One projection of one layer on its way.
class SideDelta {
 public:
  SideDelta(const LayerExperts& experts, Side side, const Metric* metric)
      : side_(side), metric_(metric), experts_NMD_(experts.read(side)) {
    at::Tensor mass_N = torch::ones({experts.num_experts()}, torch::kDouble);
    if (metric != nullptr && experts.statistics()->mass_N.sum().item<double>() > 0)
      mass_N = experts.statistics()->mass_N;
    const at::Tensor share_N = (mass_N / mass_N.sum()).to(torch::kFloat);
    base_MD_ = torch::tensordot(share_N, experts_NMD_, {0}, {0});
  }

  at::Tensor original(std::int64_t e) const { return experts_NMD_[e]; }

  /// What an expert becomes.
  at::Tensor approximation(std::int64_t e, std::int64_t rank) const {
    const auto type = solving_type(base_MD_.size(1));
    const at::Tensor delta_MD = (experts_NMD_[e] - base_MD_).to(type);
    at::Tensor left_MM, right_DD;
    if (metric_ != nullptr && side_ == Side::kDown) left_MM = metric_->hidden(e);
    if (metric_ != nullptr && side_ != Side::kDown) right_DD = metric_->input(e).to(type);
    return (base_MD_ + cut_in_metric(delta_MD, rank, left_MM, right_DD)).to(torch::kFloat);
  }

 private:
  const Side side_;
  const Metric* metric_;
  at::Tensor experts_NMD_, base_MD_;
};

}  // namespace

at::Tensor cut_in_metric(const at::Tensor& matrix_MD, std::int64_t rank, const at::Tensor& left_MM,
                         const at::Tensor& right_DD) {
  if (rank >= std::min(matrix_MD.size(0), matrix_MD.size(1))) return matrix_MD;
  if (left_MM.defined()) {
    // With left = L L^T: the right singular vectors of L^T matrix.
    const at::Tensor root_MM = cholesky_factor(left_MM).to(matrix_MD.scalar_type());
    const at::Tensor basis_DR = right_basis(root_MM.t().matmul(matrix_MD), rank).basis_DR;
    return matrix_MD.matmul(basis_DR).matmul(basis_DR.t());
  }
  // Left singular vectors of matrix S with right = S S^T, which S does not change otherwise.
  const at::Tensor seen_MD = right_DD.defined() ? matrix_MD.matmul(right_DD) : matrix_MD;
  const at::Tensor gram_MM = seen_MD.matmul(matrix_MD.t());
  const at::Tensor basis_MR = leading_eigenvectors((gram_MM + gram_MM.t()) / 2, rank);
  return basis_MR.matmul(basis_MR.t().matmul(matrix_MD));
}

DecoderConfig DeltaMethod::plan(const DecoderConfig& original,
                                const ConvertOptions& options) const {
  ConvertOptions others = options;
  others.latent.latent_dim = 0;
  refuse_latent_options(others, name());
  planned_rank(original, options);
  return original;
}

LayerFit DeltaMethod::fit(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  std::optional<Metric> metric;
  if (experts.statistics() != nullptr) {
    check_enough_rows(*experts.statistics(), experts.layer(), experts.dim(), name());
    metric.emplace(*experts.statistics());
  }
  const std::int64_t rank = planned_rank(target, context.options);
  LayerFit fit;
  fit.expert_params = params_of(target, rank);
  for (const Side side : kSides) {
    const Stopwatch watch;
    ErrorSum error(side, experts.statistics());
    const SideDelta delta(experts, side, metric ? &*metric : nullptr);
    at::Tensor dense_NMD = torch::empty(
        {experts.num_experts(), experts.hidden_dim(), experts.dim()}, kept_type(context.options));
    for (std::int64_t e = 0; e < experts.num_experts(); ++e) {
      const at::Tensor dense_MD = delta.approximation(e, rank);
      error.add(e, delta.original(e), dense_MD);
      dense_NMD[e].copy_(dense_MD);
    }
    fit.tensors[enum_name(side)] = side == Side::kDown ? dense_NMD.transpose(1, 2) : dense_NMD;
    fit.projections.push_back(error.result(watch.elapsed().wall));
    context.progress(static_cast<double>(fit.projections.size()) / 3, {});
  }
  return fit;
}

double DeltaMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                     const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const std::int64_t rank = planned_rank(target, context.options);
  const Stopwatch setup;
  std::optional<Metric> metric;
  if (experts.statistics() != nullptr) metric.emplace(*experts.statistics());
  double seconds = setup.elapsed().wall;
  for (const Side side : {Side::kGate, Side::kDown}) {
    const double times = side == Side::kGate ? 2 : 1;
    const Stopwatch reading;
    const SideDelta delta(experts, side, metric ? &*metric : nullptr);
    seconds += times * reading.elapsed().wall;
    const Stopwatch watch;
    ErrorSum error(side, experts.statistics());
    error.add(0, delta.original(0), delta.approximation(0, rank));
    seconds += times * watch.elapsed().wall * static_cast<double>(experts.num_experts());
  }
  return seconds;
}

}  // namespace talpa::convert
