#include "talpa/search/allocate.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa::search {

namespace {

using Items = std::vector<std::vector<Choice>>;

std::vector<std::size_t> cheapest(const Items& items, double byte_price) {
  std::vector<std::size_t> picked;
  for (const auto& choices : items) {
    auto price = [byte_price](const Choice& c) {
      return c.cost + byte_price * static_cast<double>(c.bytes);
    };
    const auto best =
        std::min_element(choices.begin(), choices.end(),
                         [&](const Choice& a, const Choice& b) { return price(a) < price(b); });
    picked.push_back(static_cast<std::size_t>(best - choices.begin()));
  }
  return picked;
}

std::int64_t bytes_of(const Items& items, const std::vector<std::size_t>& picked) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += items[i][picked[i]].bytes;
  return sum;
}

/// The upgrade that saves most a byte among those that fit; false if there is none.
bool upgrade(const Items& items, std::int64_t left, std::vector<std::size_t>& picked) {
  double best = 0;
  std::size_t item = 0, choice = 0;
  for (std::size_t i = 0; i < items.size(); ++i)
    for (std::size_t c = 0; c < items[i].size(); ++c) {
      const Choice &now = items[i][picked[i]], &then = items[i][c];
      const std::int64_t more = then.bytes - now.bytes;
      if (more > left || then.cost >= now.cost) continue;
      const double saved =
          (now.cost - then.cost) / static_cast<double>(std::max<std::int64_t>(more, 1));
      if (saved > best) best = saved, item = i, choice = c;
    }
  if (best == 0) return false;
  picked[item] = choice;
  return true;
}

}  // namespace

std::vector<std::size_t> allocate(const Items& items, std::int64_t budget) {
  double low = 0, high = 1e-30;
  while (bytes_of(items, cheapest(items, high)) > budget) {
    high *= 4;
    if (high > 1e30) fail(ErrorCode::kConfig, "no choice of types takes {} bytes or less", budget);
  }
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    (bytes_of(items, cheapest(items, middle)) > budget ? low : high) = middle;
  }
  std::vector<std::size_t> picked = cheapest(items, high);
  while (upgrade(items, budget - bytes_of(items, picked), picked)) {
  }
  return picked;
}

}  // namespace talpa::search
