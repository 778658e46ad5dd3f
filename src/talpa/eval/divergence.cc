#include "talpa/eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace talpa {

namespace {

/// Sums over the tokens of one model, cluster by cluster.
class Totals {
 public:
  void add(std::size_t cluster, const std::string& domain, const TokenDivergence& token) {
    if (!domain.empty()) domains_[domain].add(cluster, token.nll, 1);
    nll_.add(cluster, token.nll, 1);
    difference_.add(cluster, token.nll - token.base_nll, 1);
    kl_.add(cluster, token.kl, 1);
    kls_.push_back(static_cast<float>(token.kl));
    same_ += token.same_top1;
    const double delta = std::exp(-token.nll) - std::exp(-token.base_nll);
    delta_ += delta;
    delta_squared_ += delta * delta;
  }

  ModelScores scores(std::uint64_t bytes) {
    const auto n = static_cast<double>(std::max<std::int64_t>(1, nll_.count()));
    return {.loss = {.mean_nll = nll_.mean(),
                     .nll_error = nll_.error(),
                     .tokens = nll_.count(),
                     .bytes = bytes},
            .divergence = {.ln_ratio = difference_.mean(),
                           .ln_ratio_error = difference_.error(),
                           .kl_mean = kl_.mean(),
                           .kl_error = kl_.error(),
                           .kl_p99 = quantile(kls_, 0.99),
                           .same_top1 = static_cast<double>(same_) / n,
                           .delta_p_mean = delta_ / n,
                           .delta_p_rms = std::sqrt(delta_squared_ / n)},
            .domains = domains()};
  }

 private:
  std::vector<TextLoss> domains() const {
    std::vector<TextLoss> losses;
    for (const auto& [name, nll] : domains_)
      losses.push_back({.domain = name,
                        .mean_nll = nll.mean(),
                        .nll_error = nll.error(),
                        .tokens = nll.count()});
    return losses;
  }

  ClusterMean nll_, difference_, kl_;
  std::map<std::string, ClusterMean> domains_;
  std::vector<float> kls_;
  std::int64_t same_ = 0;
  double delta_ = 0, delta_squared_ = 0;
};

/// Log-probabilities of one piece of text and its likeliest tokens.
struct Predictions {
  std::vector<float> rows;
  std::vector<std::size_t> tops;
};

Predictions predict(std::span<const ScoreBlock> blocks, std::size_t vocab, ThreadPool& pool) {
  Predictions result;
  for (const ScoreBlock& block : blocks)
    result.rows.insert(result.rows.end(), block.logits.begin(), block.logits.end());
  result.tops.resize(result.rows.size() / vocab);
  pool.parallel_for(
      static_cast<std::int64_t>(result.tops.size()), 4, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
          result.tops[i] = to_log_probabilities(std::span(result.rows).subspan(i * vocab, vocab));
      });
  return result;
}

std::vector<TokenDivergence> compare(std::span<const ScoreBlock> blocks, const Predictions& base,
                                     const Predictions& other, std::size_t vocab,
                                     ThreadPool& pool) {
  std::vector<TokenId> targets;
  for (const ScoreBlock& block : blocks)
    targets.insert(targets.end(), block.targets.begin(), block.targets.end());
  std::vector<TokenDivergence> tokens(targets.size());
  auto row = [vocab](const Predictions& p, std::size_t i) {
    return std::span<const float>(p.rows).subspan(i * vocab, vocab);
  };
  pool.parallel_for(
      static_cast<std::int64_t>(targets.size()), 4, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
          tokens[i] =
              compare_rows(row(base, i), base.tops[i], row(other, i), other.tops[i], targets[i]);
      });
  return tokens;
}

}  // namespace

std::size_t to_log_probabilities(std::span<float> row) {
  const auto top = std::max_element(row.begin(), row.end());
  const auto index = static_cast<std::size_t>(top - row.begin());
  const auto total = static_cast<float>(log_sum_exp(row));
  for (float& value : row) value -= total;
  return index;
}

TokenDivergence compare_rows(std::span<const float> base, std::size_t base_top,
                             std::span<const float> other, std::size_t other_top, TokenId target) {
  double kl = 0;
  for (std::size_t i = 0; i < base.size(); ++i) kl += std::exp(base[i]) * (base[i] - other[i]);
  const auto at = static_cast<std::size_t>(target);
  return {.base_nll = -base[at],
          .nll = -other[at],
          .kl = kl < 0 ? 0 : kl,  // NaN stays
          .same_top1 = base_top == other_top};
}

std::vector<ModelScores> score_against_base(std::span<Model* const> models, const ScoringText& text,
                                            const ScoreOptions& options) {
  const auto vocab = static_cast<std::size_t>(models[0]->config().vocab_size);
  std::vector<Totals> totals(models.size());
  Predictions base;
  score_windows(
      models, text.windows, options, [&](std::size_t model, std::span<const ScoreBlock> blocks) {
        ThreadPool& pool = models[0]->threads();
        Predictions own = predict(blocks, vocab, pool);
        if (model == 0) base = std::move(own);
        const Predictions& other = model == 0 ? base : own;
        const auto tokens = compare(blocks, base, other, vocab, pool);
        std::size_t i = 0;
        for (const ScoreBlock& block : blocks)
          for (std::size_t k = 0; k < block.targets.size(); ++k)
            totals[model].add(text.clusters[block.window], text.domains[block.window], tokens[i++]);
      });
  std::uint64_t bytes = 0;
  for (const std::uint64_t window : text.scored_bytes) bytes += window;
  std::vector<ModelScores> scores;
  for (Totals& total : totals) scores.push_back(total.scores(bytes));
  return scores;
}

}  // namespace talpa
