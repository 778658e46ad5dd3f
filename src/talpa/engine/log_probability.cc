#include "talpa/engine/log_probability.h"

#include <algorithm>
#include <cmath>

#include "talpa/base/error.h"
#include "talpa/kernel/implementation.h"

namespace talpa {

namespace {

using Scored = std::pair<TokenId, float>;

std::vector<Scored> best_of(std::span<const float> logits, std::size_t count) {
  std::vector<Scored> best;
  if (count == 0) return best;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (best.size() == count && logits[i] <= best.back().second) continue;
    if (best.size() == count) best.pop_back();
    const Scored item(static_cast<TokenId>(i), logits[i]);
    const auto place = std::find_if(
        best.begin(), best.end(), [&](const Scored& other) { return other.second < item.second; });
    best.insert(place, item);
  }
  return best;
}

}  // namespace

TokenLogprob log_probability(std::span<float> logits, TokenId token, int num_top) {
  const auto& rows = kernel::row_functions();
  const auto size = static_cast<std::int64_t>(logits.size());
  const float largest = rows.max(logits.data(), size);
  if (!std::isfinite(largest))
    fail(ErrorCode::kFormat, "the logits are not finite; the model's weights are damaged");
  TokenLogprob result{.token = token,
                      .logprob = logits[static_cast<std::size_t>(token)],
                      .top = best_of(logits, static_cast<std::size_t>(num_top))};
  const double total =
      largest + std::log(static_cast<double>(rows.exp(logits.data(), 1, largest, size)));
  auto normalise = [&](float& logit) { logit = static_cast<float>(logit - total); };
  normalise(result.logprob);
  for (auto& item : result.top) normalise(item.second);
  return result;
}

}  // namespace talpa
