// N experts, C clusters, M expert width, D model width.
#include "talpa/convert/merge.h"

#include <torch/torch.h>

#include <numeric>

#include "talpa/base/stopwatch.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

namespace {

/// Pairwise squared distances of rows, fp64.
at::Tensor squared_distances(const at::Tensor& rows_ND) {
  const at::Tensor gram_NN = rows_ND.matmul(rows_ND.t()).to(torch::kDouble);
  const at::Tensor square_N = gram_NN.diagonal();
  return (square_N.unsqueeze(0) + square_N.unsqueeze(1) - 2 * gram_NN).clamp_min(0);
}

at::Tensor expert_distances(const LayerExperts& experts) {
  if (experts.statistics() != nullptr)
    return squared_distances(experts.statistics()->mean_output_ND).sqrt();
  const std::int64_t N = experts.num_experts();
  at::Tensor sum_NN = torch::zeros({N, N}, torch::kDouble);
  for (const Side side : kSides) sum_NN += squared_distances(experts.read(side).flatten(1));
  return sum_NN.sqrt();
}

/// Weight of each expert in its cluster's mean, [C, N]; equal where no row was seen.
at::Tensor mean_weights(const std::vector<std::int64_t>& cluster_N, std::int64_t count,
                        const LayerStatistics* statistics) {
  const auto N = static_cast<std::int64_t>(cluster_N.size());
  at::Tensor member_CN = torch::zeros({count, N});
  for (std::int64_t e = 0; e < N; ++e) member_CN[cluster_N[e]][e] = 1;
  at::Tensor weight_CN = member_CN;
  if (statistics != nullptr) {
    const at::Tensor used_CN = member_CN * statistics->rows_N.to(torch::kFloat);
    weight_CN = torch::where(used_CN.sum(1, true) > 0, used_CN, member_CN);
  }
  return weight_CN / weight_CN.sum(1, true);
}

at::Tensor merge_side(const LayerExperts& experts, Side side, const at::Tensor& weight_CN,
                      const std::vector<std::int64_t>& cluster_N, at::ScalarType type,
                      ErrorSum& error) {
  at::Tensor merged_CMD = torch::zeros({weight_CN.size(0), experts.hidden_dim(), experts.dim()});
  auto cluster_of = [&](std::int64_t e) { return cluster_N[static_cast<std::size_t>(e)]; };
  for (std::int64_t e = 0; e < experts.num_experts(); ++e)
    merged_CMD[cluster_of(e)].add_(experts.read(side, e, 1)[0],
                                   weight_CN[cluster_of(e)][e].item<float>());
  for (std::int64_t e = 0; e < experts.num_experts(); ++e)
    error.add(e, experts.read(side, e, 1)[0], merged_CMD[cluster_of(e)]);
  const at::Tensor repeated_NMD =
      merged_CMD.to(type).index_select(0, torch::tensor(cluster_N, torch::kLong));
  return side == Side::kDown ? repeated_NMD.transpose(1, 2) : repeated_NMD;
}

/// The closest two of the clusters that are left, first < second.
std::pair<std::int64_t, std::int64_t> closest(const at::TensorAccessor<double, 2>& sum,
                                              const std::vector<std::int64_t>& size) {
  const auto N = static_cast<std::int64_t>(size.size());
  std::pair<std::int64_t, std::int64_t> best{-1, -1};
  double least = 0;
  for (std::int64_t a = 0; a < N; ++a)
    for (std::int64_t b = a + 1; size[a] > 0 && b < N; ++b) {
      if (size[b] == 0) continue;
      const double mean = sum[a][b] / static_cast<double>(size[a] * size[b]);
      if (best.first < 0 || mean < least) best = {a, b}, least = mean;
    }
  return best;
}

}  // namespace

std::vector<std::int64_t> average_linkage(const at::Tensor& distance_NN, std::int64_t count) {
  at::Tensor sum_NN = distance_NN.to(torch::kDouble).clone().contiguous();
  const auto N = sum_NN.size(0);
  TALPA_CHECK(count >= 1 && count <= N);
  std::vector<std::int64_t> size(static_cast<std::size_t>(N), 1), cluster(size.size());
  std::iota(cluster.begin(), cluster.end(), 0);
  for (std::int64_t left = N; left > count; --left) {
    const auto [a, b] = closest(sum_NN.accessor<double, 2>(), size);
    sum_NN[a] += sum_NN[b];
    sum_NN.select(1, a) += sum_NN.select(1, b);
    size[a] += size[b];
    size[b] = 0;
    std::replace(cluster.begin(), cluster.end(), b, a);
  }
  std::vector<std::int64_t> number(size.size(), -1);
  std::int64_t next = 0;
  for (std::int64_t& c : cluster) {
    if (number[c] < 0) number[c] = next++;
    c = number[c];
  }
  return cluster;
}

DecoderConfig MergeMethod::plan(const DecoderConfig& original,
                                const ConvertOptions& options) const {
  refuse_latent_options(options, name());
  planned_experts(original, options);
  return original;
}

LayerFit MergeMethod::fit(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const int count = planned_experts(target, context.options);
  const auto cluster_N = average_linkage(expert_distances(experts), count);
  const at::Tensor weight_CN = mean_weights(cluster_N, count, experts.statistics());
  LayerFit fit;
  fit.expert_params = 3 * count * experts.dim() * experts.hidden_dim();
  for (const Side side : kSides) {
    const Stopwatch watch;
    ErrorSum error(side, experts.statistics());
    fit.tensors[enum_name(side)] =
        merge_side(experts, side, weight_CN, cluster_N, kept_type(context.options), error);
    fit.projections.push_back(error.result(watch.elapsed().wall));
    context.progress(static_cast<double>(fit.projections.size()) / 3, {});
  }
  return fit;
}

double MergeMethod::estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                     const FitContext& context) const {
  const torch::NoGradGuard no_grad;
  const Stopwatch clustering;
  const int count = planned_experts(target, context.options);
  const auto cluster_N = average_linkage(expert_distances(experts), count);
  const double before = clustering.elapsed().wall;
  const Stopwatch watch;
  ErrorSum error(Side::kGate, experts.statistics());
  merge_side(experts, Side::kGate, mean_weights(cluster_N, count, experts.statistics()), cluster_N,
             kept_type(context.options), error);
  return before + 3 * watch.elapsed().wall;
}

}  // namespace talpa::convert
