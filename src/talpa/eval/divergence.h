#pragma once

#include <span>
#include <vector>

#include "talpa/eval/perplexity.h"
#include "talpa/eval/statistics.h"

namespace talpa {

/// How a model's predictions differ from a base model's on the same tokens.
struct Divergence {
  double ln_ratio = 0;        ///< mean of its loss minus the base's: ln of the perplexities' ratio
  double ln_ratio_error = 0;  ///< paired standard error, tokens grouped by window or document
  double kl_mean = 0;         ///< KL(base || model), nats a token
  double kl_error = 0;
  double kl_p99 = 0;        ///< 99 % of tokens lie below
  double same_top1 = 0;     ///< share of tokens whose likeliest continuation is the same
  double delta_p_mean = 0;  ///< probability of the correct token, model minus base
  double delta_p_rms = 0;
};

/// One token's predictions of both, compared.
struct TokenDivergence {
  double base_nll = 0, nll = 0, kl = 0;
  bool same_top1 = false;
};

/// Log-probabilities of a row of logits, in place; returns the index of the highest (ties to the
/// lowest id).
std::size_t to_log_probabilities(std::span<float> row);

/// Compares log-probabilities of the base with those of a model.
TokenDivergence compare_rows(std::span<const float> base, std::size_t base_top,
                             std::span<const float> other, std::size_t other_top, TokenId target);

struct ModelScores {
  TextLoss loss;
  Divergence divergence;          ///< zeros (same_top1 one) for the base itself
  std::vector<TextLoss> domains;  ///< by name; empty if documents have none
};

/// Scores models in lock-step, the first being the base; keeps no more than one piece of text's
/// log-probabilities. Throws kShape when vocabularies differ.
std::vector<ModelScores> score_against_base(std::span<Model* const> models, const ScoringText& text,
                                            const ScoreOptions& options = {});

}  // namespace talpa
