// N experts, M expert width, D model width, Q directions.
#include "talpa/convert/group_by.h"

#include <torch/torch.h>

#include <numeric>

#include "talpa/convert/eigen.h"

namespace talpa::convert {

namespace {

/// More directions of an expert than half, and than this, cost time and say little.
constexpr std::int64_t kMaxDirections = 64;

/// Rows are the leading right singular vectors of one expert.
at::Tensor leading_rows(const at::Tensor& expert_MD, std::int64_t directions) {
  const auto type = solving_type(std::min(expert_MD.size(0), expert_MD.size(1)));
  return right_basis(expert_MD.to(type), directions).basis_DR.t().to(torch::kFloat);
}

/// Total overlap of expert `e` with the members of a group other than `except`.
double overlap_with(const at::TensorAccessor<double, 2>& overlap, std::int64_t e,
                    const std::int64_t* members, std::int64_t count, std::int64_t except) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (members[i] != except) sum += overlap[e][members[i]];
  return sum;
}

std::vector<std::int64_t> greedy_groups(const at::TensorAccessor<double, 2>& overlap,
                                        std::int64_t group_size) {
  const std::int64_t num_experts = overlap.size(0);
  std::vector<std::int64_t> order;
  std::vector<bool> taken(static_cast<std::size_t>(num_experts));
  while (static_cast<std::int64_t>(order.size()) < num_experts) {
    const auto placed = static_cast<std::int64_t>(order.size()) % group_size;
    std::int64_t best = -1;
    double best_sum = 0;
    for (std::int64_t e = 0; e < num_experts; ++e) {
      if (taken[e]) continue;
      const double sum = overlap_with(overlap, e, order.data() + order.size() - placed, placed, -1);
      if (best < 0 || sum > best_sum) best = e, best_sum = sum;
    }
    taken[best] = true;
    order.push_back(best);
  }
  return order;
}

/// Exchanges two experts of different groups where the overlap grows; true if any were.
bool exchange_pass(const at::TensorAccessor<double, 2>& overlap, std::int64_t group_size,
                   std::vector<std::int64_t>& order) {
  const auto num_experts = static_cast<std::int64_t>(order.size());
  bool changed = false;
  auto sum = [&](std::int64_t e, std::int64_t place, std::int64_t except) {
    const std::int64_t first = place / group_size * group_size;
    return overlap_with(overlap, e, order.data() + first, group_size, except);
  };
  for (std::int64_t a = 0; a < num_experts; ++a)
    for (std::int64_t b = (a / group_size + 1) * group_size; b < num_experts; ++b) {
      const std::int64_t left = order[a], right = order[b];
      const double now = sum(left, a, left) + sum(right, b, right);
      const double then = sum(right, a, left) + sum(left, b, right);
      if (then <= now * (1 + 1e-9)) continue;
      std::swap(order[a], order[b]);
      changed = true;
    }
  return changed;
}

}  // namespace

at::Tensor row_space_overlap(const LayerExperts& experts, const std::vector<Side>& sides,
                             std::int64_t directions) {
  const torch::NoGradGuard no_grad;
  const std::int64_t num_experts = experts.num_experts();
  at::Tensor overlap_NN = torch::zeros({num_experts, num_experts}, torch::kDouble);
  for (const Side side : sides) {
    std::vector<at::Tensor> rows_QD;
    for (std::int64_t e = 0; e < num_experts; ++e)
      rows_QD.push_back(leading_rows(experts.read(side, e, 1)[0], directions));
    const at::Tensor all_ND = torch::cat(rows_QD);
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const at::Tensor square_NQ = all_ND.matmul(rows_QD[e].t()).square().sum(1);
      overlap_NN[e] += square_NQ.view({num_experts, directions}).sum(1).to(torch::kDouble);
    }
  }
  return overlap_NN;
}

std::vector<std::int64_t> balanced_groups(const at::Tensor& overlap_NN, std::int64_t group_size) {
  constexpr int kMaxPasses = 20;
  const at::Tensor overlap = overlap_NN.to(torch::kDouble).contiguous();
  TALPA_CHECK(group_size > 0 && overlap.size(0) % group_size == 0);
  const auto values = overlap.accessor<double, 2>();
  std::vector<std::int64_t> order = greedy_groups(values, group_size);
  for (int pass = 0; pass < kMaxPasses && exchange_pass(values, group_size, order); ++pass) {
  }
  for (auto group = order.begin(); group != order.end(); group += group_size)
    std::sort(group, group + group_size);
  return order;
}

std::vector<std::int64_t> expert_order(const LayerExperts& experts, const std::vector<Side>& sides,
                                       const LatentConfig& latent, GroupBy group_by) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(experts.num_experts()));
  std::iota(order.begin(), order.end(), 0);
  const std::int64_t group_size = latent.group_size > 0 ? latent.group_size : experts.num_experts();
  if (group_by == GroupBy::kOrder || group_size == experts.num_experts() || group_size == 1)
    return order;
  // Whatever the width: groups are the same before widths by layer and after.
  const std::int64_t directions =
      std::clamp<std::int64_t>(experts.hidden_dim() / 2, 1, kMaxDirections);
  return balanced_groups(row_space_overlap(experts, sides, directions), group_size);
}

}  // namespace talpa::convert
