#include "talpa/kernel/experts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernel/kernel_cases.h"
#include "scratch.h"

namespace talpa::testing {
namespace {

constexpr int kDim = 48, kHidden = 40, kLatent = 24, kExperts = 6, kGroup = 3;

/// Which matrices go through a latent.
struct Form {
  const char* name;
  bool gate, up, down, shared;
};
const std::vector<Form> kForms = {{"dense", false, false, false, false},
                                  {"gate_up", true, true, false, false},
                                  {"up", false, true, false, false},
                                  {"shared_all", true, true, true, true},
                                  {"down", false, false, true, false}};

/// Rows of choices: expert ids per row, weights made up from them.
DispatchPlan plan_of(const std::vector<std::vector<int>>& choices) {
  DispatchPlan plan;
  plan.num_rows = static_cast<int>(choices.size());
  plan.num_experts = kExperts;
  plan.top_k = static_cast<int>(choices.front().size());
  plan.slot.resize(choices.size() * choices.front().size());
  plan.offsets.push_back(0);
  for (int e = 0; e < kExperts; ++e) {
    for (int t = 0; t < plan.num_rows; ++t)
      for (int j = 0; j < plan.top_k; ++j) {
        if (choices[t][j] != e) continue;
        plan.slot[t * plan.top_k + j] = plan.num_slots();
        plan.row.push_back(t);
        plan.weight.push_back(0.25f + 0.1f * static_cast<float>(j) + 0.01f * static_cast<float>(t));
      }
    plan.offsets.push_back(plan.num_slots());
  }
  for (const auto& row : choices) plan.expert.insert(plan.expert.end(), row.begin(), row.end());
  return plan;
}

const std::vector<std::vector<std::vector<int>>> kRoutings = {
    {{1, 4}},                                  // one row, empty experts
    {{2, 0}, {2, 0}, {0, 2}, {2, 0}, {2, 0}},  // all rows on two experts of a group
    {{0, 1}, {5, 2}, {3, 4}, {1, 5}, {4, 0}, {2, 3}, {0, 5}, {1, 0}, {5, 1}}};

struct Layer {
  ExpertWeights weights;
  std::vector<PackedMatrix> pack(int count, int rows, int columns, std::uint64_t seed, DType dtype,
                                 ThreadPool& pool) {
    const auto w = random_floats(std::int64_t{count} * rows * columns, seed);
    return pack_stack(rows_of(w.data(), count * rows, columns), count, dtype, pool);
  }
  Layer(const Form& form, DType dtype, ThreadPool& pool) {
    const int groups = kExperts / kGroup;
    weights.group_size = kGroup;
    weights.share_gate_up = form.shared;
    weights.gate = pack(kExperts, kHidden, form.gate ? kLatent : kDim, 1, dtype, pool);
    weights.up = pack(kExperts, kHidden, form.up ? kLatent : kDim, 2, dtype, pool);
    weights.down = pack(kExperts, form.down ? kLatent : kDim, kHidden, 3, dtype, pool);
    if (form.gate) weights.gate_in = pack(groups, kLatent, kDim, 4, dtype, pool);
    if (form.up && !form.shared) weights.up_in = pack(groups, kLatent, kDim, 5, dtype, pool);
    if (form.down) weights.down_out = pack(groups, kDim, kLatent, 6, dtype, pool);
  }
};

std::vector<double> times(const PackedMatrix& w, const std::vector<double>& x) {
  std::vector<double> y(w.rows());
  std::vector<float> row(w.columns());
  for (std::int64_t n = 0; n < w.rows(); ++n) {
    w.read_row(n, row.data());
    for (std::size_t k = 0; k < x.size(); ++k) y[n] += row[k] * x[k];
  }
  return y;
}

/// The definition, expert by expert, in double.
std::vector<double> expert(const ExpertWeights& w, int e, const std::vector<double>& x) {
  const int g = e / kGroup;
  const auto gate_x = w.gate_in.empty() ? x : times(w.gate_in[g], x);
  const auto up_x = w.share_gate_up ? gate_x : w.up_in.empty() ? x : times(w.up_in[g], x);
  auto h = times(w.gate[e], gate_x);
  const auto up = times(w.up[e], up_x);
  for (std::size_t m = 0; m < h.size(); ++m) h[m] *= up[m] / (1 + std::exp(-h[m]));
  const auto y = times(w.down[e], h);
  return w.down_out.empty() ? y : times(w.down_out[g], y);
}

std::vector<float> expected(const ExpertWeights& w, const DispatchPlan& plan,
                            const std::vector<float>& x_TD) {
  std::vector<float> y_TD(x_TD.size(), 1.0f);
  for (int t = 0; t < plan.num_rows; ++t)
    for (int j = 0; j < plan.top_k; ++j) {
      const std::vector<double> x(x_TD.begin() + t * kDim, x_TD.begin() + (t + 1) * kDim);
      const auto y = expert(w, plan.expert[t * plan.top_k + j], x);
      const float weight = plan.weight[plan.slot[t * plan.top_k + j]];
      for (int d = 0; d < kDim; ++d) y_TD[t * kDim + d] += static_cast<float>(weight * y[d]);
    }
  return y_TD;
}

std::vector<float> actual(const ExpertWeights& w, const DispatchPlan& plan,
                          const std::vector<float>& x_TD, ThreadPool& pool) {
  std::vector<float> y_TD(x_TD.size(), 1.0f);
  ExpertScratch scratch;
  Activations x;
  x.set(x_TD.data(), plan.num_rows, kDim);
  run_experts(w, plan, x, y_TD.data(), scratch, pool);
  return y_TD;
}

double scale_of(const std::vector<float>& values) {
  double largest = 1;
  for (const float v : values) largest = std::max(largest, std::abs(double{v}));
  return largest;
}

/// What rounding activations may cost, relative to the largest result.
double error_of(DType dtype) {
  if (is_quantised(dtype)) return 0.03;
  const bool rounds =
      dtype == DType::kBF16 && kernel::matmul_implementation(dtype).bf16_activations;
  return rounds ? 0.01 : 1e-5;
}

TEST(ExpertsTest, EqualTheDefinition) {
  ThreadPool pool(2);
  for (const Form& form : kForms)
    for (const DType dtype : kHeldTypes) {
      const Layer layer(form, dtype, pool);
      for (const auto& routing : kRoutings) {
        const DispatchPlan plan = plan_of(routing);
        const auto x = random_floats(plan.num_rows * kDim, 8);
        const auto want = expected(layer.weights, plan, x);
        EXPECT_LT(largest_difference(actual(layer.weights, plan, x, pool), want) / scale_of(want),
                  error_of(dtype))
            << form.name << " " << name_of(dtype) << " " << plan.num_rows << " rows";
      }
    }
}

TEST(ExpertsTest, RowsDoNotDependOnTheirCompany) {
  ThreadPool pool(3);
  const auto& routing = kRoutings.back();
  for (const Form& form : kForms)
    for (const DType dtype : {DType::kBF16, DType::kQ4_1}) {
      const Layer layer(form, dtype, pool);
      const DispatchPlan plan = plan_of(routing);
      const auto x = random_floats(plan.num_rows * kDim, 8);
      const auto together = actual(layer.weights, plan, x, pool);
      for (int t = 0; t < plan.num_rows; ++t) {
        DispatchPlan alone = plan_of({routing[t]});
        for (int j = 0; j < plan.top_k; ++j)
          alone.weight[alone.slot[j]] = plan.weight[plan.slot[t * plan.top_k + j]];
        const std::vector<float> row(x.begin() + t * kDim, x.begin() + (t + 1) * kDim);
        const auto y = actual(layer.weights, alone, row, pool);
        EXPECT_TRUE(std::equal(y.begin(), y.end(), together.begin() + t * kDim)) << form.name;
      }
    }
}

TEST(ExpertsTest, FeedForwardIsOneExpert) {
  ThreadPool pool(2);
  const Layer layer(kForms[0], DType::kF32, pool);
  const auto x = random_floats(7 * kDim, 8);
  const FeedForwardWeights ffn{layer.weights.gate[2], layer.weights.up[2], layer.weights.down[2]};
  std::vector<float> y(x.size()), want;
  Activations rows;
  rows.set(x.data(), 7, kDim);
  ExpertScratch scratch;
  run_feed_forward(ffn, rows, y.data(), scratch, pool);
  for (int t = 0; t < 7; ++t)
    for (const double v :
         expert(layer.weights, 2, {x.begin() + t * kDim, x.begin() + (t + 1) * kDim}))
      want.push_back(static_cast<float>(v));
  EXPECT_LT(largest_difference(y, want) / scale_of(want), 1e-5);
}

TEST(ExpertsTest, PlanMustFit) {
  ThreadPool pool(1);
  const Layer layer(kForms[0], DType::kF32, pool);
  DispatchPlan plan = plan_of(kRoutings[0]);
  plan.num_experts = 5;
  const std::vector<float> x(kDim);
  EXPECT_TALPA_ERROR(actual(layer.weights, plan, x, pool), kShape, "5 experts");
}

}  // namespace
}  // namespace talpa::testing
