// Fused operations against their compositions of autograd's own: values and gradients.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "scratch.h"
#include "talpa/nn/cross_entropy.h"
#include "talpa/nn/linear.h"
#include "talpa/nn/moe/losses.h"
#include "talpa/nn/moe/routed_linear.h"
#include "talpa/nn/norm.h"
#include "talpa/nn/rotary.h"
#include "talpa/nn/swiglu.h"

namespace talpa::nn {
namespace {

using Tensors = std::vector<at::Tensor>;
using Operation = std::function<at::Tensor(const Tensors&)>;

Tensors normal_tensors(const std::vector<std::vector<std::int64_t>>& shapes, at::ScalarType dtype) {
  torch::manual_seed(1);
  Tensors tensors;
  for (const auto& shape : shapes)
    tensors.push_back(at::randn(shape, at::kDouble).to(dtype).requires_grad_(true));
  return tensors;
}

// Value, then gradients of a fixed random functional of it.
Tensors results_of(const Operation& operation, const Tensors& inputs) {
  for (const auto& input : inputs) input.mutable_grad().reset();
  const at::Tensor value = operation(inputs);
  torch::manual_seed(2);
  const at::Tensor direction = at::randn(value.sizes(), at::kDouble).to(value.scalar_type());
  (value * direction).sum().backward();
  Tensors results{value.detach()};
  for (const auto& input : inputs) results.push_back(input.grad().clone());
  return results;
}

struct Case {
  std::string name;
  std::vector<std::vector<std::int64_t>> shapes;
  Operation fused, reference;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

RowMap some_map() { return RowMap(std::vector<std::int32_t>{2, 0, 2, 5, 1, 2, 0}, 6); }

// Targets of four matrices, the second of which has none.
RoutedRows some_rows() { return {some_map(), {0, 3, 3, 6, 7}}; }

// One matrix product a target.
at::Tensor each_target(const at::Tensor& rows_SI, const at::Tensor& weight_NOI) {
  const at::Tensor matrix_S = at::tensor({0, 0, 0, 2, 2, 2, 3}, at::kLong);
  return weight_NOI.index_select(0, matrix_S).bmm(rows_SI.unsqueeze(2)).squeeze(2);
}

std::vector<Case> cases() {
  const auto tables = rotary_tables(5, 6, 100);
  const at::Tensor index = some_map().index;
  const at::Tensor targets = at::tensor({3, 0, -100, 4, 1, 1, 2, -100, 0}, at::kLong);
  return {
      {"rms_norm",
       {{3, 5, 37}, {37}},
       [](const Tensors& t) { return rms_norm(t[0], t[1], 1e-3); },
       [](const Tensors& t) { return rms_norm_reference(t[0], t[1], 1e-3); }},
      {"rms_norm_of_a_view",
       {{5, 3, 16}, {16}},
       [](const Tensors& t) { return rms_norm(t[0].transpose(0, 1), t[1], 1e-6); },
       [](const Tensors& t) { return rms_norm_reference(t[0].transpose(0, 1), t[1], 1e-6); }},
      {"rotate",
       {{2, 5, 3, 6}},
       [=](const Tensors& t) { return rotate(t[0], tables); },
       [=](const Tensors& t) { return rotate_reference(t[0], tables); }},
      {"swiglu",
       {{7, 35}, {7, 35}},
       [](const Tensors& t) { return swiglu(t[0], t[1]); },
       [](const Tensors& t) { return swiglu_reference(t[0], t[1]); }},
      {"swiglu_weighted",
       {{7, 16}, {7, 16}, {7}},
       [](const Tensors& t) { return swiglu(t[0], t[1], t[2]); },
       [](const Tensors& t) { return swiglu_reference(t[0], t[1], t[2]); }},
      {"gather_linear",
       {{6, 5}, {4, 3, 5}},
       [](const Tensors& t) { return gather_linear(t[0], t[1], some_rows()); },
       [=](const Tensors& t) { return each_target(t[0].index_select(0, index), t[1]); }},
      {"scatter_linear",
       {{7, 5}, {4, 3, 5}},
       [](const Tensors& t) { return scatter_linear(t[0], t[1], some_rows()); },
       [=](const Tensors& t) {
         return at::zeros({6, 3}, t[0].options()).index_add(0, index, each_target(t[0], t[1]));
       }},
      {"gather_rows",
       {{6, 4}},
       [](const Tensors& t) { return gather_rows(t[0], some_map()); },
       [=](const Tensors& t) { return t[0].index_select(0, index); }},
      {"sum_rows",
       {{7, 4}},
       [](const Tensors& t) { return sum_rows(t[0], some_map()); },
       [=](const Tensors& t) {
         return at::zeros({6, 4}, t[0].options()).index_add(0, index, t[0]);
       }},
      {"linear",
       {{2, 65, 19}, {21, 19}, {21}},
       [](const Tensors& t) { return nn::linear(t[0], t[1], t[2]); },
       [](const Tensors& t) { return at::linear(t[0], t[1], t[2]); }},
      {"linear_of_one_row",
       {{1, 40}, {3, 40}},
       [](const Tensors& t) { return nn::linear(t[0], t[1]); },
       [](const Tensors& t) { return at::linear(t[0], t[1]); }},
      {"linear_cross_entropy",
       {{9, 4}, {5, 4}},
       [=](const Tensors& t) { return linear_cross_entropy(t[0], t[1], targets); },
       [=](const Tensors& t) { return at::cross_entropy_loss(at::linear(t[0], t[1]), targets); }},
      {"linear_cross_entropy_in_chunks",
       {{70, 4}, {40000, 4}},
       [=](const Tensors& t) { return linear_cross_entropy(t[0], t[1], at::arange(70) * 500); },
       [=](const Tensors& t) {
         return at::cross_entropy_loss(at::linear(t[0], t[1]), at::arange(70) * 500);
       }},
  };
}

class Fused : public ::testing::TestWithParam<Case> {
 protected:
  static void expect_close(at::ScalarType dtype, double tolerance) {
    const auto& [name, shapes, fused, reference] = GetParam();
    const Tensors inputs = normal_tensors(shapes, dtype);
    const Tensors actual = results_of(fused, inputs), expected = results_of(reference, inputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(actual[i].sizes(), expected[i].sizes());
      EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
      EXPECT_LT((actual[i] - expected[i]).abs().max().item<double>(), tolerance)
          << (i == 0 ? "value" : "gradient " + std::to_string(i - 1));
    }
  }
};

TEST_P(Fused, EqualsItsReferenceInFp64) { expect_close(at::kDouble, 1e-12); }
TEST_P(Fused, EqualsItsReferenceInFp32) { expect_close(at::kFloat, 2e-5); }

INSTANTIATE_TEST_SUITE_P(Operations, Fused, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST(Operations, NormsInBf16ComputeInFp32) {
  const at::Tensor x = at::randn({4, 64}).to(at::kBFloat16), weight = at::randn({64});
  const at::Tensor wide = rms_norm_reference(x.to(at::kFloat), at::ones({64}), 1e-5);
  const at::Tensor expected = wide.to(at::kBFloat16) * weight.to(at::kBFloat16);
  EXPECT_TRUE(at::equal(rms_norm(x, weight.to(at::kBFloat16), 1e-5), expected));
}

TEST(Operations, RowMapsOfNothingAndOfEverything) {
  const RowMap none(std::vector<std::int32_t>{}, 3);
  EXPECT_TRUE(at::equal(sum_rows(at::empty({0, 2}), none), at::zeros({3, 2})));
  std::vector<std::int32_t> all(5);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE(RowMap(all, 5).identity);
  EXPECT_FALSE(RowMap(all, 6).identity);
  EXPECT_TALPA_ERROR(RowMap(all, 4), kInternal, "check failed");
}

TEST(Operations, CrossEntropyOfNoTargetIsZero) {
  const at::Tensor x = at::randn({3, 4}).requires_grad_(true), head = at::randn({5, 4});
  const at::Tensor loss = linear_cross_entropy(x, head, at::full({3}, kIgnoredTarget, at::kLong));
  EXPECT_EQ(loss.item<float>(), 0);
  loss.backward();
  EXPECT_EQ(x.grad().abs().max().item<float>(), 0);
}

TEST(Operations, CrossEntropyTakesTargetsOfItsClassesAlone) {
  for (const std::int64_t target : {-1, 5})
    EXPECT_TALPA_ERROR(
        linear_cross_entropy(at::rand({1, 4}), at::rand({5, 4}), at::full({1}, target, at::kLong)),
        kInternal, "check failed");
}

/// Training skips such a step, or ends with the number of it.
TEST(Operations, CrossEntropyShowsWhatIsNotFinite) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    at::Tensor head = at::randn({50, 4});
    head[17][2] = bad;
    const at::Tensor loss = linear_cross_entropy(at::rand({3, 4}), head, at::arange(3));
    EXPECT_FALSE(std::isfinite(loss.item<float>())) << bad;
  }
}

TEST(Operations, ProductsHaveTheSameBitsForAnyNumberOfThreads) {
  const Tensors inputs = normal_tensors({{300, 48}, {500, 48}}, at::kFloat);
  const at::Tensor targets = at::randint(500, {300}, at::kLong);
  const auto both = [&](const Tensors& t) {
    return linear_cross_entropy(t[0], t[1], targets) + nn::linear(t[0], t[1]).square().mean();
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensors alone = results_of(both, inputs);
  at::set_num_threads(3);
  const Tensors together = results_of(both, inputs);
  at::set_num_threads(threads);
  for (std::size_t i = 1; i < alone.size(); ++i) EXPECT_TRUE(at::equal(alone[i], together[i])) << i;
}

at::Tensor counts(std::vector<std::int64_t> rows) {
  return at::tensor(rows, at::kLong).unsqueeze(0);
}

/// Two sequences, each with one expert: balanced as a whole, collapsed one by one.
TEST(Losses, BalanceOfSequencesIsTheirMean) {
  const at::Tensor probs = at::tensor({1., 0., 1., 0., 0., 1., 0., 1.}, at::kDouble).view({4, 2});
  EXPECT_NEAR(balance_loss(probs, counts({2, 2})).item<double>(), 1, 1e-15);
  const at::Tensor each = at::cat({counts({2, 0}), counts({0, 2})});
  EXPECT_NEAR(balance_loss(probs, each).item<double>(), 2, 1e-15);
}

TEST(Losses, BalanceIsOneForUniformRoutingAndNForCollapse) {
  const at::Tensor uniform = at::full({6, 4}, 0.25, at::kDouble);
  EXPECT_NEAR(balance_loss(uniform, counts({3, 3, 3, 3})).item<double>(), 1, 1e-15);
  const at::Tensor collapsed = at::one_hot(at::zeros({6}, at::kLong), 4).to(at::kDouble);
  EXPECT_NEAR(balance_loss(collapsed, counts({6, 0, 0, 0})).item<double>(), 4, 1e-15);
}

TEST(Losses, FollowTheirFormulas) {
  const at::Tensor logits = at::tensor({0.5, -1.0, 2.0, 1.5, 0.0, -0.5}, at::kDouble).view({2, 3});
  const auto z = [](double a, double b, double c) {
    return std::log(std::exp(a) + std::exp(b) + std::exp(c));
  };
  const double z0 = z(0.5, -1, 2), z1 = z(1.5, 0, -0.5);
  EXPECT_NEAR(router_z_loss(logits).item<double>(), (z0 * z0 + z1 * z1) / 2, 1e-14);
  // Two rows, one choice each: expert 2 and expert 0.
  const double p0 = (std::exp(0.5 - z0) + std::exp(1.5 - z1)) / 2;
  const double p2 = (std::exp(2 - z0) + std::exp(-0.5 - z1)) / 2;
  EXPECT_NEAR(balance_loss(logits.softmax(1), counts({1, 0, 1})).item<double>(), 3 * (p0 + p2) / 2,
              1e-14);
}

}  // namespace
}  // namespace talpa::nn
