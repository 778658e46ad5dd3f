// K experts of a group, M expert width, D model width, R latent width.
#include <cmath>

#include "fixtures.h"
#include "talpa/convert/linear.h"

namespace talpa::convert {
namespace {

at::Tensor random_stack(std::int64_t experts, std::int64_t rows, std::int64_t columns, int seed) {
  torch::manual_seed(seed);
  return torch::randn({experts, rows, columns});
}

GroupInput group_of(const std::vector<at::Tensor>& experts_KMD, std::int64_t rank, int reduce = 0) {
  GroupInput input;
  for (std::size_t s = 0; s < experts_KMD.size(); ++s)
    input.sides.push_back(s == 0 ? Side::kGate : Side::kUp);
  input.expert_MD = experts_in_memory(experts_KMD);
  input.members.resize(static_cast<std::size_t>(experts_KMD.front().size(0)));
  input.latent_dim = rank;
  input.reduce_rank = reduce;
  return input;
}

at::Tensor product(const GroupFactors& f, std::size_t side = 0) {
  return f.left_KMR[side].matmul(f.right_RD);
}

double squared_error(const GroupFactors& f, const at::Tensor& experts_KMD) {
  return (product(f) - experts_KMD).square().sum().item<double>();
}

double tail_of(const at::Tensor& stacked, std::int64_t rank) {
  const at::Tensor values = torch::linalg_svdvals(stacked.to(torch::kDouble));
  return values.slice(0, rank).square().sum().item<double>();
}

TEST(Svd, SpectrumIsOfTheSmallerGramMatrix) {
  for (const std::int64_t experts : {1, 2, 6}) {  // 16, 32 and 96 rows of 48
    const at::Tensor experts_KMD = random_stack(experts, 16, 48, 1);
    const at::Tensor spectrum = svd_spectrum(group_of({experts_KMD}, 4));
    const at::Tensor values =
        torch::linalg_svdvals(experts_KMD.reshape({-1, 48}).to(torch::kDouble));
    EXPECT_EQ(spectrum.size(0), std::min<std::int64_t>(16 * experts, 48));
    EXPECT_TRUE(torch::allclose(spectrum, values.square(), 1e-9, 1e-9));
  }
}

TEST(Svd, FullRankReproducesTheExperts) {
  const at::Tensor experts_KMD = random_stack(6, 16, 24, 1);
  EXPECT_LT(relative(product(svd_group(group_of({experts_KMD}, 24))), experts_KMD), 1e-12);
}

TEST(Svd, ErrorIsTheTailOfTheSingularValues) {
  const at::Tensor experts_KMD = random_stack(4, 10, 32, 3).to(torch::kDouble);
  const double norm = experts_KMD.square().sum().item<double>();
  for (const int rank : {1, 7, 20, 31}) {
    const auto f = svd_group(group_of({experts_KMD}, rank));
    EXPECT_NEAR(squared_error(f, experts_KMD), tail_of(experts_KMD.reshape({40, 32}), rank),
                1e-9 * norm)
        << rank;
  }
}

TEST(Svd, WideStacksUseTheSmallerGramMatrix) {
  const at::Tensor experts_KMD = random_stack(2, 6, 50, 4).to(torch::kDouble);
  const double norm = experts_KMD.square().sum().item<double>();
  for (const int rank : {3, 12}) {
    const auto f = svd_group(group_of({experts_KMD}, rank));
    EXPECT_NEAR(squared_error(f, experts_KMD), tail_of(experts_KMD.reshape({12, 50}), rank),
                1e-9 * norm)
        << rank;
  }
}

TEST(Svd, FirstPhaseNeverHelps) {
  const at::Tensor experts_KMD = random_stack(4, 24, 64, 5);
  double last = squared_error(svd_group(group_of({experts_KMD}, 24)), experts_KMD);
  for (const int rank : {18, 6}) {
    const double cut = squared_error(svd_group(group_of({experts_KMD}, 24, rank)), experts_KMD);
    EXPECT_GE(cut, last * (1 - 1e-9)) << rank;
    last = cut;
  }
}

TEST(Svd, SharedLatentIsTheSvdOfBoth) {
  const at::Tensor gate_KMD = random_stack(4, 8, 16, 6), up_KMD = random_stack(4, 8, 16, 7);
  const auto both = svd_group(group_of({gate_KMD, up_KMD}, 10));
  const double error = (product(both, 0) - gate_KMD).square().sum().item<double>() +
                       (product(both, 1) - up_KMD).square().sum().item<double>();
  const at::Tensor stacked = torch::cat({gate_KMD.flatten(0, 1), up_KMD.flatten(0, 1)});
  EXPECT_NEAR(error, tail_of(stacked, 10), 1e-9 * stacked.square().sum().item<double>());
}

TEST(Svd, ZeroExpertsStayZero) {
  const auto f = svd_group(group_of({torch::zeros({2, 4, 8})}, 3));
  EXPECT_EQ(product(f).abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace talpa::convert
