#include "talpa/train/spike_guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "scratch.h"

namespace talpa::train {
namespace {

SpikeGuard seasoned(int steps = 40) {
  SpikeGuard guard({.deviations = 6, .window = 20, .max_in_a_row = 3});
  for (int step = 0; step < steps; ++step)
    EXPECT_TRUE(guard.accept(step, 3 + 0.1 * std::sin(step), 1 + 0.1 * std::cos(step)));
  return guard;
}

TEST(SpikeGuard, SkipsWhatIsFarAboveAndNothingElse) {
  SpikeGuard guard = seasoned();
  EXPECT_TRUE(guard.accept(40, 3.2, 1.2));
  EXPECT_TRUE(guard.accept(41, 1.0, 0.1));
  EXPECT_FALSE(guard.accept(42, 3, 9));
  EXPECT_FALSE(guard.accept(43, 9, 1));
  EXPECT_FALSE(guard.accept(44, std::numeric_limits<double>::quiet_NaN(), 1));
  EXPECT_EQ(guard.num_skipped(), 3);
  EXPECT_TRUE(guard.accept(45, 3, 1));
}

TEST(SpikeGuard, LearnsWhatIsUsualFirst) {
  SpikeGuard guard({.deviations = 6, .window = 20});
  EXPECT_TRUE(guard.accept(0, 3, 1));
  EXPECT_TRUE(guard.accept(1, 9, 50));
}

TEST(SpikeGuard, GivesUpAfterSomeInARow) {
  SpikeGuard guard = seasoned();
  for (int step = 40; step < 43; ++step) EXPECT_FALSE(guard.accept(step, 99, 1));
  EXPECT_TALPA_ERROR(guard.accept(43, 99, 1), kConfig, "4 steps in a row");
}

TEST(SpikeGuard, OffMeansOff) {
  SpikeGuard guard({});
  for (int step = 0; step < 200; ++step) guard.accept(step, 3, 1);
  EXPECT_TRUE(guard.accept(200, 1e9, 1e9));
}

TEST(SpikeGuard, StateDecidesTheNextAnswers) {
  const SpikeGuard guard = seasoned(33);
  SpikeGuard again({.deviations = 6, .window = 20, .max_in_a_row = 3});
  again.load(Json::parse(guard.state().dump()), "here");
  EXPECT_EQ(again.state(), guard.state());
  EXPECT_FALSE(again.accept(33, 9, 1));
  EXPECT_TALPA_ERROR(again.load(Json{{"loss", 3}}, "trainer.json"), kFormat, "trainer.json");
}

}  // namespace
}  // namespace talpa::train
