#include "talpa/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "talpa/base/error.h"

namespace talpa {

namespace {

struct Candidate {
  float logit;
  TokenId id;
  double probability = 0;  ///< not normalised
};

/// Best first, ties to the lowest id.
bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/// Divides positive and multiplies negative logits of recent tokens, each once.
void penalise(const SamplerOptions& options, std::span<const TokenId> history,
              std::vector<float>& logits) {
  if (options.repeat_penalty == 1 || options.repeat_last == 0) return;
  const auto last = std::min(history.size(), static_cast<std::size_t>(options.repeat_last));
  std::vector<TokenId> recent(history.end() - static_cast<std::ptrdiff_t>(last), history.end());
  std::sort(recent.begin(), recent.end());
  recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
  const auto penalty = static_cast<float>(options.repeat_penalty);
  for (const TokenId id : recent) {
    if (id < 0 || static_cast<std::size_t>(id) >= logits.size()) continue;
    logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
}

/// Lowers the logits of tokens that were generated, and adds the biases.
void shift(const SamplerOptions& options, std::span<const TokenId> generated,
           std::vector<float>& logits) {
  auto add = [&](TokenId id, double amount) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size())
      logits[id] += static_cast<float>(amount);
  };
  if (options.presence_penalty != 0 || options.frequency_penalty != 0) {
    std::map<TokenId, int> counts;
    for (const TokenId id : generated) ++counts[id];
    for (const auto& [id, count] : counts)
      add(id, -options.presence_penalty - count * options.frequency_penalty);
  }
  for (const LogitBias& item : options.logit_bias) add(item.token, item.bias);
}

/// Probabilities up to a factor; returns their sum. The best has probability 1.
double temper(double temperature, float best, std::vector<Candidate>& candidates) {
  double sum = 0;
  for (Candidate& c : candidates)
    sum += c.probability = std::exp((static_cast<double>(c.logit) - best) / temperature);
  return sum;
}

/// Keeps the fewest best candidates that hold `share` of `sum`, sorting no more than needed.
void keep_share(double share, double sum, std::vector<Candidate>& candidates) {
  double mass = 0;
  std::size_t kept = 0;
  for (std::size_t sorted = 0; kept < candidates.size() && mass < share * sum; ++kept) {
    if (kept == sorted) {
      const std::size_t next = std::min(candidates.size(), std::max<std::size_t>(64, 4 * sorted));
      std::partial_sort(candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                        candidates.begin() + static_cast<std::ptrdiff_t>(next), candidates.end(),
                        better);
      sorted = next;
    }
    mass += candidates[kept].probability;
  }
  candidates.resize(std::max<std::size_t>(kept, 1));
}

}  // namespace

void SamplerOptions::validate(const std::string& path) const {
  auto check = [&](bool good, const char* name, const char* expected) {
    if (!good)
      fail(ErrorCode::kConfig, "{}{}{}: expected {}", path, path.empty() ? "" : ".", name,
           expected);
  };
  check(std::isfinite(temperature) && temperature >= 0, "temperature", "a number of at least 0");
  check(top_k >= 0, "top_k", "a count, 0 = off");
  check(top_p > 0 && top_p <= 1, "top_p", "a share in (0, 1]");
  check(min_p >= 0 && min_p <= 1, "min_p", "a share in [0, 1]");
  check(std::isfinite(repeat_penalty) && repeat_penalty > 0, "repeat_penalty",
        "a positive number, 1 = off");
  check(repeat_last >= 0, "repeat_last", "a count");
  check(std::isfinite(presence_penalty), "presence_penalty", "a number, 0 = off");
  check(std::isfinite(frequency_penalty), "frequency_penalty", "a number, 0 = off");
  for (const LogitBias& item : logit_bias)
    check(std::isfinite(item.bias), "logit_bias", "finite numbers");
}

Sampler::Sampler(const SamplerOptions& options)
    : options_(options), random_(options.seed, "sampler") {
  options.validate("sampler");
}

TokenId Sampler::sample(std::span<const float> logits_V, std::span<const TokenId> history,
                        std::size_t num_generated, const LogitMask& mask) {
  std::vector<float> logits(logits_V.begin(), logits_V.end());
  penalise(options_, history, logits);
  shift(options_, history.last(std::min(num_generated, history.size())), logits);
  if (mask) mask(logits);
  const auto best = std::max_element(logits.begin(), logits.end());
  if (best == logits.end() || !std::isfinite(*best))
    fail(ErrorCode::kFormat, "the logits are not finite; the model's weights are damaged");
  if (options_.temperature == 0) return static_cast<TokenId>(best - logits.begin());

  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -std::numeric_limits<float>::infinity())  // nor NaN
      candidates.push_back({logits[i], static_cast<TokenId>(i)});
  if (const auto k = static_cast<std::size_t>(options_.top_k); k > 0 && k < candidates.size()) {
    std::partial_sort(candidates.begin(), candidates.begin() + options_.top_k, candidates.end(),
                      better);
    candidates.resize(k);
  }
  const double sum = temper(options_.temperature, *best, candidates);
  if (options_.top_p < 1) keep_share(options_.top_p, sum, candidates);
  std::erase_if(candidates, [&](const Candidate& c) { return c.probability < options_.min_p; });

  double mass = 0;
  for (const Candidate& c : candidates) mass += c.probability;
  double at = random_.uniform() * mass;
  for (const Candidate& c : candidates)
    if ((at -= c.probability) < 0) return c.id;
  return candidates.back().id;
}

}  // namespace talpa
