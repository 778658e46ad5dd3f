// N experts, G bases, M expert width, R latent width, D model width, K rank of a basis.
#include "talpa/convert/bases_objective.h"

#include "bases_fixtures.h"

namespace talpa::convert {
namespace {

constexpr BasesSizes kWhole{};
constexpr BasesSizes kLowRank{.rank = 2};

struct ObjectiveCase {
  std::string name;
  BasesMetric metric;
};

std::vector<ObjectiveCase> objective_cases(const BasesSizes& s) {
  const at::Tensor weight_N = torch::rand({s.experts}, torch::kDouble) + 0.1;
  return {
      {"plain", {}},
      {"columns", {.over_columns = random_definite(s.experts, s.width, 1)}},
      {"one for all", {.over_columns = random_definite(1, s.width, 2), .weight_N = weight_N}},
      {"rows", {.over_rows = random_definite(s.experts, s.hidden, 3)}},
      {"diagonal rows", {.over_rows = torch::rand({s.experts, s.hidden}, torch::kDouble) + 0.1}},
      {"all",
       {.over_columns = random_definite(s.experts, s.width, 4),
        .over_rows = random_definite(s.experts, s.hidden, 5),
        .weight_N = weight_N}}};
}

at::Tensor squares_by_autograd(const at::Tensor& error_NMD, const BasesMetric& metric) {
  at::Tensor pull = error_NMD;
  if (metric.over_columns.defined()) pull = pull.matmul(metric.over_columns);
  if (metric.over_rows.defined())
    pull = (metric.over_rows.dim() == 2 ? metric.over_rows.diag_embed() : metric.over_rows)
               .matmul(pull);
  if (metric.weight_N.defined()) pull = pull * metric.weight_N.view({-1, 1, 1});
  return (error_NMD * pull).sum();
}

/// Relative to zeros, and by elements as gradients are.
at::Tensor loss_by_autograd(const at::Tensor& product, const at::Tensor& target,
                            const BasesMetric& metric) {
  return squares_by_autograd(product - target, metric) / squares_by_autograd(target, metric);
}

MixedBases with_gradients(const MixedBases& bases) {
  MixedBases copy = bases.clone();
  for (auto& [name, tensor] : copy.tensors()) tensor.requires_grad_(true);
  return copy;
}

void expect_close(const at::Tensor& got, const at::Tensor& expected, double tolerance,
                  const std::string& name) {
  EXPECT_LT(relative(got, expected), tolerance) << name;
}

TEST(BasesObjective, GradientsByHandEqualAutograd) {
  for (const BasesSizes& s : {kWhole, kLowRank})
    for (const auto activation :
         {BasisActivation::kNone, BasisActivation::kSilu, BasisActivation::kTanh})
      for (const auto& [name, metric] : objective_cases(s)) {
        const at::Tensor target_NMD = torch::randn({s.experts, s.hidden, s.width}, torch::kDouble);
        const MixedBases bases = random_bases(s, activation, 7);
        const MixedBases traced = with_gradients(bases);
        const at::Tensor loss = loss_by_autograd(product_of(traced), target_NMD, metric);
        loss.backward();
        for (const std::int64_t chunk_bytes : {1, 1 << 20}) {
          const BasesObjective objective(target_NMD, metric, chunk_bytes);
          const auto got = objective.gradients(bases);
          EXPECT_NEAR(got.loss.item<double>(), loss.item<double>(), 1e-12 * loss.item<double>());
          EXPECT_TRUE(objective.loss(bases).equal(got.loss)) << name;
          ASSERT_EQ(got.of.size(), bases.tensors().size());
          for (const auto& [part, gradient] : got.of)
            expect_close(gradient / static_cast<double>(target_NMD.numel()),
                         traced.tensors().at(part).grad(), 1e-11, name + " " + part);
        }
      }
}

/// A as a function of the bases, by autograd's own operations.
at::Tensor eliminated_own(const at::Tensor& formed_NRD, const at::Tensor& target_NMD,
                          const BasesMetric& metric) {
  const at::Tensor seen =
      metric.over_columns.defined() ? formed_NRD.matmul(metric.over_columns) : formed_NRD;
  const at::Tensor gram = seen.matmul(formed_NRD.transpose(1, 2));
  return torch::linalg_solve(gram.transpose(1, 2), seen.matmul(target_NMD.transpose(1, 2)))
      .transpose(1, 2);
}

TEST(BasesObjective, ExactOwnGivesTheGradientOfTheEliminatedError) {
  for (const BasesSizes& s : {kWhole, kLowRank})
    for (const auto& [name, metric] : objective_cases(s)) {
      const at::Tensor target_NMD = torch::randn({s.experts, s.hidden, s.width}, torch::kDouble);
      MixedBases bases = random_bases(s, BasisActivation::kTanh, 8);
      const MixedBases traced = with_gradients(bases);
      const at::Tensor formed =
          formed_bases(traced.mix_NG(), traced.bases_GRD(), traced.activation);
      const at::Tensor own = eliminated_own(formed, target_NMD, metric);
      loss_by_autograd(own.bmm(formed), target_NMD, metric).backward();

      const BasesObjective objective(target_NMD, metric);
      const auto got = objective.gradients_with_exact_own(bases, 1e-14);
      expect_close(bases.own_NMR, own, 1e-8, name + " own");
      EXPECT_FALSE(got.of.contains("own"));
      for (const auto& [part, gradient] : got.of)
        expect_close(gradient / static_cast<double>(target_NMD.numel()),
                     traced.tensors().at(part).grad(), 1e-7, name + " " + part);
      for (std::int64_t e = 0; e < s.experts; ++e) {
        const at::Tensor& columns = metric.over_columns;
        const at::Tensor solved = least_squares_own(
            target_NMD[e], formed[e].detach(),
            columns.defined() ? columns[columns.size(0) == 1 ? 0 : e] : at::Tensor());
        expect_close(solved, own[e], 1e-6, name + " in fp64");
      }
    }
}

TEST(BasesObjective, NoiseIsPartOfTheLossAndItsGradient) {
  constexpr double kNoise = 0.3;
  for (const auto& [name, metric] : objective_cases(kLowRank)) {
    const BasesSizes& s = kLowRank;
    const at::Tensor target_NMD = torch::randn({s.experts, s.hidden, s.width}, torch::kDouble);
    MixedBases bases = random_bases(s, BasisActivation::kTanh, 8);
    const MixedBases traced = with_gradients(bases);
    const BasesObjective objective(target_NMD, metric);
    const auto got = objective.gradients_with_exact_own(bases, 1e-14, kNoise);
    const at::Tensor own_NMR = bases.own_NMR;

    const at::Tensor formed_NRD =
        formed_bases(traced.mix_NG(), traced.bases_GRD(), traced.activation);
    BasesMetric inputs{.over_columns = metric.over_columns};
    BasesMetric outputs{.over_rows = metric.over_rows, .weight_N = metric.weight_N};
    at::Tensor penalty = torch::zeros({}, torch::kDouble);
    for (std::int64_t e = 0; e < s.experts; ++e) {
      auto of_expert = [e](const BasesMetric& all) {
        auto one = [e](const at::Tensor& x) {
          return !x.defined() ? x : x.narrow(0, x.size(0) == 1 ? 0 : e, 1);
        };
        return BasesMetric{one(all.over_columns), one(all.over_rows), one(all.weight_N)};
      };
      penalty = penalty + squares_by_autograd(formed_NRD.narrow(0, e, 1), of_expert(inputs)) *
                              squares_by_autograd(own_NMR.narrow(0, e, 1), of_expert(outputs));
    }
    const at::Tensor loss =
        loss_by_autograd(own_NMR.bmm(formed_NRD), target_NMD, metric) +
        penalty * kNoise / own_NMR.size(2) / squares_by_autograd(target_NMD, metric);
    loss.backward();
    EXPECT_NEAR(got.loss.item<double>(), loss.item<double>(), 1e-9) << name;
    for (const auto& [part, gradient] : got.of)
      expect_close(gradient / static_cast<double>(target_NMD.numel()),
                   traced.tensors().at(part).grad(), 1e-7, name + " " + part);
  }
}

TEST(BasesObjective, ZerosCostOneAnElementInEveryMetric) {
  for (const auto& [name, metric] : objective_cases(kWhole)) {
    const at::Tensor target_NMD =
        torch::randn({kWhole.experts, kWhole.hidden, kWhole.width}, torch::kDouble);
    MixedBases bases = random_bases(kWhole, BasisActivation::kSilu, 9);
    bases.own_NMR.zero_();
    EXPECT_NEAR(BasesObjective(target_NMD, metric).loss(bases).item<double>(), 1, 1e-12) << name;
  }
}

TEST(BasesObjective, RankDeficientBasesHaveALeastSquaresSolution) {
  torch::manual_seed(10);
  const at::Tensor once_RD = torch::randn({3, 8}, torch::kDouble);
  const at::Tensor twice_RD = torch::cat({once_RD, once_RD, torch::zeros({2, 8}, torch::kDouble)});
  const at::Tensor target_MD = torch::randn({5, 3}, torch::kDouble).matmul(once_RD);
  const at::Tensor own_MR = least_squares_own(target_MD, twice_RD, {});
  EXPECT_LT(relative(own_MR.matmul(twice_RD), target_MD), 1e-8);
}

}  // namespace
}  // namespace talpa::convert
