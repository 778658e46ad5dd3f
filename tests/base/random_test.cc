#include "talpa/base/random.h"

#include <gtest/gtest.h>

#include <vector>

namespace talpa {
namespace {

TEST(Random, MatchesThePublishedGenerator) {
  // First outputs of xoshiro256** from the state {1, 2, 3, 4}.
  Random random(0);
  random.set_state({1, 2, 3, 4});
  const std::uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
  for (const std::uint64_t value : expected) EXPECT_EQ(random.next(), value);
}

TEST(Random, IsReproducibleAndApartByPurpose) {
  Random first(7, "init"), second(7, "init"), other(7, "data"), next_seed(8, "init");
  int same_as_other = 0, same_as_next = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t value = first.next();
    EXPECT_EQ(value, second.next());
    same_as_other += value == other.next();
    same_as_next += value == next_seed.next();
  }
  EXPECT_EQ(same_as_other + same_as_next, 0);
}

TEST(Random, ContinuesFromItsState) {
  Random random(3);
  for (int i = 0; i < 10; ++i) random.normal();
  const Random::State state = random.state();
  const double expected = random.normal();
  Random resumed(0);
  resumed.set_state(state);
  EXPECT_EQ(resumed.normal(), expected);
}

TEST(Random, DrawsWithinBounds) {
  Random random(5);
  std::vector<int> counts(7);
  for (int i = 0; i < 7000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 1000; ++i) {
    const double u = random.uniform();
    EXPECT_GE(u, 0);
    EXPECT_LT(u, 1);
  }
}

TEST(Random, IsNormal) {
  Random random(11);
  double sum = 0, squares = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.03);
  EXPECT_NEAR(squares / kDraws, 1, 0.05);
}

}  // namespace
}  // namespace talpa
