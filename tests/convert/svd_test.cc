// E experts, M expert width, D model width, R latent width.
#include "talpa/convert/svd.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "scratch.h"

namespace talpa::convert {
namespace {

at::Tensor random_experts(std::int64_t experts, std::int64_t rows, std::int64_t columns, int seed) {
  torch::manual_seed(seed);
  return torch::randn({experts, rows, columns});
}

at::Tensor product(const Factors& f, std::int64_t group_size) {
  return f.left_EMR.matmul(f.right_GRD.repeat_interleave(group_size, 0));
}

double relative(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

TEST(Svd, FullRankReproducesTheExperts) {
  const at::Tensor experts_EMD = random_experts(6, 16, 24, 1);
  for (const int group_size : {1, 2, 3, 6}) {
    const auto f = SvdMethod().fit({{"gate", experts_EMD}}, {24, group_size, 0}).front();
    EXPECT_LT(relative(product(f, group_size), experts_EMD), 1e-6) << group_size;
  }
}

TEST(Svd, ExactlyFactorableExpertsComeBack) {
  torch::manual_seed(2);
  const at::Tensor left_EMR = torch::randn({8, 12, 5}), right_GRD = torch::randn({2, 5, 40});
  const at::Tensor experts_EMD = left_EMR.matmul(right_GRD.repeat_interleave(4, 0));
  const auto f = SvdMethod().fit({{"up", experts_EMD}}, {5, 4, 0}).front();
  EXPECT_LT(relative(product(f, 4), experts_EMD), 1e-6);
  EXPECT_LT(f.squared_error / f.squared_norm, 1e-12);
}

TEST(Svd, ErrorIsTheTailOfTheSingularValues) {
  const at::Tensor experts_EMD = random_experts(4, 10, 32, 3);
  for (const int rank : {1, 7, 20, 31}) {
    const auto f = SvdMethod().fit({{"gate", experts_EMD}}, {rank, 4, 0}).front();
    const at::Tensor values =
        torch::linalg_svdvals(experts_EMD.reshape({40, 32}).to(torch::kDouble));
    const double tail = values.narrow(0, rank, 32 - rank).square().sum().item<double>();
    EXPECT_NEAR(f.squared_error, tail, 1e-9 * f.squared_norm) << rank;
    const double measured = (product(f, 4) - experts_EMD).square().sum().item<double>();
    EXPECT_NEAR(measured, tail, 1e-4 * f.squared_norm) << rank;
  }
}

TEST(Svd, WideStacksUseTheSmallerGramMatrix) {
  const at::Tensor experts_EMD = random_experts(2, 6, 50, 4);
  for (const int rank : {3, 12}) {
    const auto f = SvdMethod().fit({{"gate", experts_EMD}}, {rank, 2, 0}).front();
    const at::Tensor values =
        torch::linalg_svdvals(experts_EMD.reshape({12, 50}).to(torch::kDouble));
    const double tail = values.narrow(0, rank, 12 - rank).square().sum().item<double>();
    EXPECT_NEAR(f.squared_error, tail, 1e-9 * f.squared_norm) << rank;
  }
}

TEST(Svd, FirstPhaseNeverHelpsAndTheRefitBoundsIt) {
  const at::Tensor experts_EMD = random_experts(8, 24, 64, 5);
  const auto plain = SvdMethod().fit({{"gate", experts_EMD}}, {24, 4, 0}).front();
  double last = plain.squared_error;
  for (const int rank : {18, 6}) {
    const auto cut = SvdMethod().fit({{"gate", experts_EMD}}, {24, 4, rank}).front();
    EXPECT_GE(cut.squared_error, last * (1 - 1e-9)) << rank;
    last = cut.squared_error;
  }
}

TEST(Svd, SharedLatentHasOneRightFactor) {
  const at::Tensor gate_EMD = random_experts(4, 8, 16, 6), up_EMD = random_experts(4, 8, 16, 7);
  const auto both = SvdMethod().fit({{"gate", gate_EMD}, {"up", up_EMD}}, {10, 2, 0});
  EXPECT_TRUE(both[0].right_GRD.equal(both[1].right_GRD));
  const auto alone = SvdMethod().fit({{"gate", gate_EMD}}, {10, 2, 0}).front();
  EXPECT_LE(alone.squared_error, both[0].squared_error * (1 + 1e-9));
}

TEST(Svd, ZeroExpertsStayZero) {
  const auto f = SvdMethod().fit({{"gate", torch::zeros({2, 4, 8})}}, {3, 2, 0}).front();
  EXPECT_EQ(product(f, 2).abs().max().item<float>(), 0);
}

TEST(Svd, OptionsThatDoNotFit) {
  const std::vector<Projection> experts{{"gate", random_experts(6, 4, 8, 8)}};
  EXPECT_TALPA_ERROR(SvdMethod().fit(experts, {4, 4, 0}), kConfig, "does not divide 6");
  EXPECT_TALPA_ERROR(SvdMethod().fit(experts, {9, 3, 0}), kConfig, "latent width 9");
  EXPECT_TALPA_ERROR(SvdMethod().fit(experts, {4, 3, -1}), kConfig, "negative");
}

}  // namespace
}  // namespace talpa::convert
