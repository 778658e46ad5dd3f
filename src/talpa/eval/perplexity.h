#pragma once

#include <optional>
#include <string>
#include <vector>

#include "talpa/eval/score.h"
#include "talpa/eval/windows.h"

namespace talpa {

/// Mean loss of some text.
struct TextLoss {
  std::string domain;       ///< "" = all of it
  double mean_nll = 0;      ///< nats a token
  double nll_error = 0;     ///< standard error, tokens grouped by window or document
  std::int64_t tokens = 0;  ///< scored
  std::uint64_t bytes = 0;  ///< of the scored text, 0 = unknown

  double perplexity() const;
  double perplexity_error() const;
  /// Bits per byte of text; nullopt if the bytes are not known.
  std::optional<double> bits_per_byte() const;
};

struct PerplexityResult {
  TextLoss all;
  std::vector<TextLoss> domains;  ///< by name; empty if documents have none
  std::size_t windows = 0;
  double seconds = 0;

  double tokens_per_second() const;
};

/// Text cut for scoring: windows, their groups, and the bytes they score.
struct ScoringText {
  std::vector<Window> windows;
  std::vector<std::size_t> clusters;        ///< of each window
  std::vector<std::uint64_t> scored_bytes;  ///< of each window, 0 = unknown
  std::vector<std::string> domains;         ///< of each window
};

/// `tokenizer` may be null (bytes are then unknown).
ScoringText prepare_scoring(std::span<const TokenDocument> documents, const WindowOptions& options,
                            const Tokenizer* tokenizer);

/// Perplexity of a model on a text.
PerplexityResult measure_perplexity(Model& model, const ScoringText& text,
                                    const ScoreOptions& options = {});

/// The report of `talpa eval ppl --json`.
Json to_json(const PerplexityResult& result);

/// Token put before documents: what the tokenizer adds, else the model's beginning token, else its
/// end token; -1 if there is none.
TokenId start_token_of(const DecoderConfig& config, const Tokenizer* tokenizer);

}  // namespace talpa
