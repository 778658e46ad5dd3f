#include "talpa/convert/bases_fit.h"

#include "bases_fixtures.h"

namespace talpa::convert {
namespace {

constexpr BasesSizes kFitSizes{.experts = 8, .bases = 4, .hidden = 12, .latent = 8, .width = 24};

struct FitProblem {
  at::Tensor target_NMD;
  std::function<MixedBases()> start;
  explicit FitProblem(double sharpness = 1) {
    target_NMD = product_of(random_bases(kFitSizes, BasisActivation::kSilu, 1, torch::kFloat));
    target_NMD = target_NMD / target_NMD.square().mean().sqrt();
    start = [target = target_NMD, sharpness] {
      return stacked_start(target, 2, kFitSizes.latent, sharpness);
    };
  }
};

void finish(BasesFit& fit) {
  while (fit.advance()) {
  }
}

TEST(BasesFit, EverySettingLowersTheLoss) {
  const FitProblem problem;
  const BasesObjective objective(problem.target_NMD, {});
  for (const auto schedule : {FitSchedule::kConstant, FitSchedule::kCosine, FitSchedule::kTail})
    for (const double ridge : {0.0, 1e-4}) {
      BasesFit fit(objective, problem.start,
                   {.steps = 200, .schedule = schedule, .exact_ridge = ridge});
      finish(fit);
      EXPECT_EQ(fit.step(), 200);
      EXPECT_EQ(fit.done(), 1);
      EXPECT_LT(fit.best_loss(), fit.first_loss() / 4);
      EXPECT_NEAR(objective.loss(fit.best()).item<double>(), fit.best_loss(), 1e-5);
    }
}

TEST(BasesFit, StoredStateGoesOnBitForBit) {
  const FitProblem problem;
  const BasesObjective objective(problem.target_NMD, {});
  for (const double ridge : {0.0, 1e-4}) {
    const BasesFitSettings settings{
        .steps = 95, .schedule = FitSchedule::kTail, .exact_ridge = ridge};
    BasesFit whole(objective, problem.start, settings), first(objective, problem.start, settings),
        second(objective, problem.start, settings);
    finish(whole);
    for (int look = 0; look < 4; ++look) first.advance();
    second.restore(first.state());
    EXPECT_EQ(second.step(), first.step());
    finish(second);
    for (const auto& [name, tensor] : whole.state())
      EXPECT_TRUE(tensor.equal(second.state().at(name))) << name;
  }
}

TEST(BasesFit, ExpertsReadFewAtATimeGiveTheSameFit) {
  const FitProblem problem;
  BasesTarget target = problem.target_NMD;
  std::int64_t largest = 0;
  target.read_CMD = [&, read = target.read_CMD](std::int64_t first, std::int64_t count) {
    largest = std::max(largest, count);
    return read(first, count).clone();
  };
  constexpr std::int64_t kFewBytes = 16 << 10;
  const BasesObjective held(problem.target_NMD, {}, kFewBytes), read(target, {}, kFewBytes);
  for (const double ridge : {0.0, 1e-4}) {
    const BasesFitSettings settings{.steps = 25, .exact_ridge = ridge};
    BasesFit a(held, problem.start, settings), b(read, problem.start, settings);
    finish(a);
    finish(b);
    for (const auto& [name, tensor] : a.best().tensors())
      EXPECT_TRUE(tensor.equal(b.best().tensors().at(name))) << name;
    EXPECT_EQ(a.state().contains("now.own"), ridge == 0);
  }
  EXPECT_LT(largest, kFitSizes.experts);
}

TEST(BasesFit, StateOfAnotherFitIsRefused) {
  const FitProblem problem;
  const BasesObjective objective(problem.target_NMD, {});
  BasesFit fit(objective, problem.start, {.steps = 10});
  auto state = fit.state();
  state.erase("now.own");
  EXPECT_TALPA_ERROR(fit.restore(state), kFormat, "now.own");
}

TEST(BasesFit, PatienceEndsAFitThatStandsStill) {
  const FitProblem problem;
  const BasesObjective objective(problem.target_NMD, {});
  BasesFit fit(objective, problem.start,
               {.steps = 1000, .learning_rate = 1e-12, .patience = 40, .max_restarts = 0});
  finish(fit);
  EXPECT_EQ(fit.step(), 40);
  EXPECT_EQ(fit.done(), 1);
}

TEST(BasesFit, DivergedFitsStartAgainWithSlowerBases) {
  const FitProblem problem;
  const BasesObjective objective(problem.target_NMD, {});
  const BasesFitSettings wild{
      .steps = 100, .learning_rate = 0.3, .basis_rate = 300, .max_restarts = 20};
  BasesFit fit(objective, problem.start, wild);
  finish(fit);
  EXPECT_GT(fit.restarts(), 2);
  EXPECT_LT(fit.best_loss(), fit.first_loss());
  BasesFitSettings impatient = wild;
  impatient.patience = 50;
  BasesFit early(objective, problem.start, impatient);
  finish(early);
  EXPECT_LT(early.best_loss(), early.first_loss());
  BasesFitSettings hopeless = wild;
  hopeless.learning_rate = 1e6;
  hopeless.max_restarts = 2;
  BasesFit failing(objective, problem.start, hopeless);
  EXPECT_TALPA_ERROR(finish(failing), kInternal, "diverged 3 times");
}

}  // namespace
}  // namespace talpa::convert
