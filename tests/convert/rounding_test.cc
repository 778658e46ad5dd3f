// R rows, C columns, N experts.
#include "talpa/convert/rounding.h"

#include "fixtures.h"
#include "talpa/base/error.h"

namespace talpa::convert {
namespace {

/// Inputs whose directions fall off in size, in a basis of their own: columns are correlated.
at::Tensor correlated_moment(std::int64_t width, int seed) {
  torch::manual_seed(seed);
  const at::Tensor basis = std::get<0>(torch::linalg_qr(torch::randn({width, width})));
  const at::Tensor sizes = torch::exp(-torch::arange(width, torch::kFloat) * (6.0 / width));
  return basis.mul(sizes).matmul(basis.t()).to(torch::kDouble);
}

at::Tensor weights(std::int64_t rows, std::int64_t columns, int seed) {
  torch::manual_seed(seed);
  return torch::randn({rows, columns}) * 0.05;
}

double weighted_error(const at::Tensor& error, const at::Tensor& moment) {
  const at::Tensor e = error.to(torch::kDouble);
  return e.matmul(moment).mul(e).sum().item<double>();
}

/// What the bytes stand for.
at::Tensor decoded(const RoundedMatrix& rounded, DType dtype) {
  at::Tensor values = torch::empty_like(rounded.values_RC);
  to_float(dtype, rounded.bytes.data(), values.data_ptr<float>(), values.numel());
  return values;
}

struct RoundingCase {
  DType dtype;
  double ratio;  ///< bound of the compensated squared error over the plain one
};

class Rounding : public ::testing::TestWithParam<RoundingCase> {};

TEST_P(Rounding, BytesAndValuesAgree) {
  const at::Tensor w = weights(24, 96, 1), moment = correlated_moment(96, 2);
  for (const at::Tensor& metric : {at::Tensor(), moment}) {
    const RoundedMatrix rounded = round_blocks(w, GetParam().dtype, metric);
    EXPECT_TRUE(torch::equal(decoded(rounded, GetParam().dtype), rounded.values_RC));
  }
}

TEST_P(Rounding, CompensationIsClearlyBetterAndNeverWorseByRow) {
  const at::Tensor w = weights(64, 192, 3), moment = correlated_moment(192, 4);
  const at::Tensor plain = round_blocks(w, GetParam().dtype).values_RC - w;
  const at::Tensor better = round_blocks(w, GetParam().dtype, moment).values_RC - w;
  const double ratio = weighted_error(better, moment) / weighted_error(plain, moment);
  RecordProperty("ratio", std::to_string(ratio));
  EXPECT_LT(ratio, GetParam().ratio);
  for (std::int64_t r = 0; r < w.size(0); ++r)
    EXPECT_LE(weighted_error(better[r].unsqueeze(0), moment),
              weighted_error(plain[r].unsqueeze(0), moment) * (1 + 1e-9));
}

TEST_P(Rounding, WithoutCorrelationItIsPlain) {
  const at::Tensor w = weights(16, 64, 5);
  const at::Tensor plain = round_blocks(w, GetParam().dtype).values_RC;
  const at::Tensor metric = round_blocks(w, GetParam().dtype, torch::eye(64)).values_RC;
  // A scale that was tried may beat the one that the search without a metric found.
  const double ratio = ((metric - w).norm() / (plain - w).norm()).item<double>();
  EXPECT_LE(ratio, 1 + 1e-6);
  EXPECT_GE(ratio, 1 - 1e-3);
}

TEST_P(Rounding, WhatTheFormatHoldsStays) {
  const at::Tensor exact = round_blocks(weights(16, 64, 6), GetParam().dtype).values_RC;
  EXPECT_TRUE(torch::equal(round_blocks(exact, GetParam().dtype).values_RC, exact));
  const at::Tensor moment = correlated_moment(64, 7);
  EXPECT_TRUE(torch::equal(round_blocks(exact, GetParam().dtype, moment).values_RC, exact));
}

TEST_P(Rounding, InputsWithoutRowsOrRankAreFine) {
  const at::Tensor w = weights(8, 64, 8);
  const at::Tensor x = weights(3, 64, 9).to(torch::kDouble);
  for (const at::Tensor& moment : {torch::zeros({64, 64}, torch::kDouble), x.t().matmul(x)}) {
    const RoundedMatrix rounded = round_blocks(w, GetParam().dtype, moment);
    EXPECT_TRUE(rounded.values_RC.isfinite().all().item<bool>());
    EXPECT_LE(weighted_error(rounded.values_RC - w, moment),
              weighted_error(round_blocks(w, GetParam().dtype).values_RC - w, moment) + 1e-15);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Rounding,
                         ::testing::Values(RoundingCase{DType::kQ8_0, 0.55},
                                           RoundingCase{DType::kQ4_0, 0.55},
                                           RoundingCase{DType::kQ3_0, 0.55},
                                           RoundingCase{DType::kQ2_0, 0.55}),
                         [](const auto& info) { return std::string(name_of(info.param.dtype)); });

TEST(RoundingNoise, IsThatOfNormallyDistributedElements) {
  EXPECT_EQ(rounding_noise(DType::kF32), 0);
  EXPECT_LT(rounding_noise(DType::kQ8_0), 1e-4);
  EXPECT_NEAR(rounding_noise(DType::kQ4_0), 0.007, 0.004);
  EXPECT_NEAR(rounding_noise(DType::kQ3_0), 0.03, 0.012);
  EXPECT_NEAR(rounding_noise(DType::kQ2_0), 0.13, 0.05);
}

TEST(RoundingNoise, HeldBackSolutionsOfDependentRowsErrLessOnceRounded) {
  torch::manual_seed(11);
  const at::Tensor nearly_alike =
      torch::randn({1, 128}) + 0.05 * torch::randn({32, 128});  // rows that Z has
  const at::Tensor z_RD = nearly_alike.to(torch::kDouble);
  const at::Tensor w_MD = torch::randn({24, 32}, torch::kDouble).matmul(z_RD);
  const at::Tensor gram = z_RD.matmul(z_RD.t()), target = w_MD.matmul(z_RD.t());
  auto error_of = [&](const FitForRounding& fit) {
    const at::Tensor own = round_blocks(fit.solution_MR, DType::kQ3_0).values_RC;
    return ((own.to(torch::kDouble).matmul(z_RD) - w_MD).norm() / w_MD.norm()).item<double>();
  };
  const FitForRounding plain{
      std::get<0>(torch::linalg_lstsq(z_RD.t(), w_MD.t())).t().to(torch::kFloat), gram};
  EXPECT_LT(error_of(fit_for_rounding(target, gram, rounding_noise(DType::kQ3_0))),
            0.7 * error_of(plain));
}

TEST(RoundingErrors, NameTheWidth) {
  EXPECT_TALPA_ERROR(round_blocks(weights(2, 40, 1), DType::kQ4_0), kShape, "rows of 40");
  EXPECT_TALPA_ERROR(round_blocks(weights(2, 64, 1), DType::kQ4_0, torch::eye(32)), kShape,
                     "width 64");
  EXPECT_TALPA_ERROR(round_blocks(weights(2, 256, 1), DType::kQ4_K), kUnsupported, "q4_k");
  EXPECT_EQ(round_blocks(weights(2, 40, 1), DType::kF16).bytes.size(), 160U);
}

/// Experts that are near a product of factors, the factors, and what plain rounding of both costs.
struct FactorCase {
  std::vector<at::Tensor> experts, lefts, rights;
  at::Tensor moment = correlated_moment(128, 10);
  double plain = 0;

  ExpertsToRound to_round(bool with_moment = true) const {
    ExpertsToRound all = {experts.size(), [this](std::size_t i) { return experts[i]; }, nullptr};
    if (with_moment) all.moment = [this](std::size_t) { return moment; };
    return all;
  }
  double error_of(const std::vector<at::Tensor>& left, const std::vector<at::Tensor>& right) const {
    double sum = 0;
    for (std::size_t i = 0; i < experts.size(); ++i)
      sum += weighted_error(
          left[left.size() == 1 ? 0 : i].matmul(right[right.size() == 1 ? 0 : i]) - experts[i],
          moment);
    return sum;
  }
  double error_of(const RoundedFactors& factors) const {
    std::vector<at::Tensor> left, right;
    for (const auto& matrix : factors.left) left.push_back(matrix.values_RC);
    for (const auto& matrix : factors.right) right.push_back(matrix.values_RC);
    return error_of(left, right);
  }
};

FactorCase factor_case(std::size_t num_lefts, std::size_t num_rights, FactorTypes types) {
  FactorCase c;
  for (std::size_t i = 0; i < num_lefts; ++i) c.lefts.push_back(weights(64, 32, 20 + int(i)));
  for (std::size_t i = 0; i < num_rights; ++i) c.rights.push_back(weights(32, 128, 40 + int(i)));
  std::vector<at::Tensor> left, right;
  for (std::size_t i = 0; i < 4; ++i)
    c.experts.push_back(c.lefts[num_lefts == 1 ? 0 : i].matmul(c.rights[num_rights == 1 ? 0 : i]) +
                        2e-4 * weights(64, 128, 60 + int(i)));
  for (const auto& m : c.lefts) left.push_back(round_blocks(m, types.left).values_RC);
  for (const auto& m : c.rights) right.push_back(round_blocks(m, types.right).values_RC);
  c.plain = c.error_of(left, right);
  return c;
}

TEST(RoundedFactors, InputSideIsBetterThanRoundingEach) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ2_0}) {
    const FactorTypes types{dtype, dtype};
    const FactorCase c = factor_case(4, 1, types);
    const auto rounded = round_input_factors(c.to_round(), c.rights[0], types);
    ASSERT_EQ(rounded.left.size(), 4U);
    const double ratio = c.error_of(rounded) / c.plain;
    RecordProperty(std::string("ratio_") + name_of(dtype), std::to_string(ratio));
    EXPECT_LT(ratio, 0.75) << name_of(dtype);
    const auto blind = round_input_factors(c.to_round(false), c.rights[0], types);
    EXPECT_LT(c.error_of(rounded), c.error_of(blind));
  }
}

TEST(RoundedFactors, OutputSideIsBetterThanRoundingEach) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ2_0}) {
    const FactorTypes types{dtype, dtype};
    const FactorCase c = factor_case(1, 4, types);
    const auto rounded = round_output_factors(c.to_round(), torch::stack(c.rights), types);
    ASSERT_EQ(rounded.left.size(), 1U);
    ASSERT_EQ(rounded.right.size(), 4U);
    const double ratio = c.error_of(rounded) / c.plain;
    RecordProperty(std::string("ratio_") + name_of(dtype), std::to_string(ratio));
    EXPECT_LT(ratio, 0.75) << name_of(dtype);
  }
}

TEST(RoundedFactors, NameTheWidthOfMoments) {
  const ExpertsToRound experts = {3, [](std::size_t) { return weights(32, 64, 1); },
                                  [](std::size_t) { return torch::eye(48); }};
  EXPECT_TALPA_ERROR(round_input_factors(experts, weights(32, 64, 2), {}), kShape,
                     "of width 64 is [48, 48], expected");
}

}  // namespace
}  // namespace talpa::convert
