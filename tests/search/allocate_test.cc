#include "talpa/search/allocate.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "scratch.h"

namespace talpa::search {
namespace {

using Items = std::vector<std::vector<Choice>>;

/// Costs fall with bytes, faster at first, as rounding errors do.
Items random_items(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> weight(0.1, 10), bend(2, 6);
  Items items(count);
  for (auto& choices : items) {
    const double size = weight(random), ratio = bend(random);
    double cost = size;
    for (const std::int64_t bytes : {80, 112, 144, 272}) {
      choices.push_back({.bytes = bytes, .cost = cost});
      cost /= ratio;
    }
  }
  return items;
}

std::pair<std::int64_t, double> total(const Items& items, const std::vector<std::size_t>& picked) {
  std::pair<std::int64_t, double> sum = {0, 0};
  for (std::size_t i = 0; i < items.size(); ++i) {
    sum.first += items[i][picked[i]].bytes;
    sum.second += items[i][picked[i]].cost;
  }
  return sum;
}

double best_of_all(const Items& items, std::int64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> picked(items.size(), 0);
  for (;;) {
    const auto [bytes, cost] = total(items, picked);
    if (bytes <= budget) best = std::min(best, cost);
    std::size_t i = 0;
    while (i < items.size() && ++picked[i] == items[i].size()) picked[i++] = 0;
    if (i == items.size()) return best;
  }
}

TEST(Allocate, IsNearTheBestOfAllChoicesAndWithinTheBudget) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Items items = random_items(6, seed);
    for (const std::int64_t budget : {480, 600, 777, 1100, 1632}) {
      const auto [bytes, cost] = total(items, allocate(items, budget));
      EXPECT_LE(bytes, budget);
      EXPECT_LE(cost, 1.3 * best_of_all(items, budget)) << seed << " " << budget;
    }
  }
}

TEST(Allocate, TakesTheBestEverywhereWhereThereIsRoom) {
  const Items items = random_items(5, 3);
  for (const std::size_t picked : allocate(items, 5 * 272)) EXPECT_EQ(picked, 3u);
}

TEST(Allocate, SaysWhenNothingFits) {
  EXPECT_TALPA_ERROR(allocate(random_items(2, 1), 159), kConfig, "159 bytes");
}

}  // namespace
}  // namespace talpa::search
