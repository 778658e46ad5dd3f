#include "talpa/eval/perplexity.h"

#include <chrono>
#include <cmath>
#include <map>
#include <numbers>

#include "talpa/eval/statistics.h"

namespace talpa {

namespace {

/// Bytes of the tokens of a document that no window scores.
std::uint64_t unscored_bytes(const TokenDocument& document, const std::vector<bool>& scored,
                             const Tokenizer& tokenizer) {
  std::uint64_t bytes = 0;
  for (std::size_t i = document.has_start_token ? 1 : 0; i < document.tokens.size(); ++i) {
    if (scored[i]) continue;
    const TokenId previous = document.tokens[i > 0 ? i - 1 : i];
    bytes += bytes_of_token(tokenizer, previous, document.tokens[i]);
  }
  return bytes;
}

/// Spreads the scored bytes of a document over its windows by scored tokens, the sum exact.
void share_bytes(std::uint64_t bytes, std::span<const Window> windows,
                 std::span<std::uint64_t> shares) {
  std::uint64_t tokens_left = 0, bytes_left = bytes;
  for (const Window& window : windows) tokens_left += window.num_scored();
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const std::uint64_t tokens = windows[i].num_scored();
    shares[i] = tokens_left > 0 ? static_cast<std::uint64_t>(static_cast<double>(bytes_left) *
                                                             (static_cast<double>(tokens) /
                                                              static_cast<double>(tokens_left)))
                                : 0;
    tokens_left -= tokens;
    bytes_left -= shares[i];
  }
}

/// Which tokens of a document its windows score. Windows of one document follow one another.
std::vector<bool> scored_tokens(const TokenDocument& document, std::span<const Window> windows,
                                const WindowOptions& options) {
  std::vector<bool> scored(document.tokens.size(), false);
  const auto stride =
      static_cast<std::size_t>(options.stride > 0 ? options.stride : options.context);
  for (std::size_t w = 0; w < windows.size(); ++w)
    for (std::size_t i = windows[w].first_scored; i < windows[w].tokens.size(); ++i)
      scored[w * stride + i] = true;
  return scored;
}

struct LossSums {
  ClusterMean nll;
  std::uint64_t bytes = 0;
};

TextLoss loss_of(const std::string& domain, const LossSums& sums) {
  return {.domain = domain,
          .mean_nll = sums.nll.mean(),
          .nll_error = sums.nll.error(),
          .tokens = sums.nll.count(),
          .bytes = sums.bytes};
}

Json to_json(const TextLoss& loss) {
  Json json = {{"nll", number_or_null(loss.mean_nll)},
               {"nll_error", number_or_null(loss.nll_error)},
               {"perplexity", number_or_null(loss.perplexity())},
               {"perplexity_error", number_or_null(loss.perplexity_error())},
               {"tokens", loss.tokens},
               {"bytes", loss.bytes > 0 ? Json(loss.bytes) : Json()}};
  const auto bits = loss.bits_per_byte();
  json["bits_per_byte"] = bits ? Json(*bits) : Json();
  return json;
}

}  // namespace

double TextLoss::perplexity() const { return std::exp(mean_nll); }
double TextLoss::perplexity_error() const { return perplexity() * nll_error; }

std::optional<double> TextLoss::bits_per_byte() const {
  if (bytes == 0) return std::nullopt;
  return mean_nll * static_cast<double>(tokens) / std::numbers::ln2 / static_cast<double>(bytes);
}

double PerplexityResult::tokens_per_second() const {
  return seconds > 0 ? static_cast<double>(all.tokens) / seconds : 0;
}

ScoringText prepare_scoring(std::span<const TokenDocument> documents, const WindowOptions& options,
                            const Tokenizer* tokenizer) {
  ScoringText text;
  text.windows = make_windows(documents, options);
  text.clusters = clusters_of(text.windows);
  text.scored_bytes.resize(text.windows.size());
  for (std::size_t first = 0; first < text.windows.size();) {
    const std::size_t index = text.windows[first].document;
    std::size_t end = first;
    while (end < text.windows.size() && text.windows[end].document == index) ++end;
    const auto windows = std::span(text.windows).subspan(first, end - first);
    const TokenDocument& document = documents[index];
    text.domains.insert(text.domains.end(), windows.size(), document.domain);
    if (tokenizer != nullptr && document.bytes > 0) {
      const std::uint64_t lost =
          unscored_bytes(document, scored_tokens(document, windows, options), *tokenizer);
      share_bytes(document.bytes - std::min(document.bytes, lost), windows,
                  std::span(text.scored_bytes).subspan(first, windows.size()));
    }
    first = end;
  }
  return text;
}

PerplexityResult measure_perplexity(Model& model, const ScoringText& text,
                                    const ScoreOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  std::vector<double> window_nll(text.windows.size());
  std::vector<double> row_nll;
  Model* const models[] = {&model};
  score_windows(
      models, text.windows, options, [&](std::size_t, std::span<const ScoreBlock> blocks) {
        for (const ScoreBlock& block : blocks) {
          row_nll.resize(block.targets.size());
          model.threads().parallel_for(
              static_cast<std::int64_t>(row_nll.size()), 4,
              [&](std::int64_t begin, std::int64_t end) {
                for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end);
                     ++i) {
                  const auto logits = block.logits.subspan(i * vocab, vocab);
                  row_nll[i] =
                      log_sum_exp(logits) - logits[static_cast<std::size_t>(block.targets[i])];
                }
              });
          for (const double nll : row_nll) window_nll[block.window] += nll;
        }
      });
  LossSums all;
  std::map<std::string, LossSums> by_domain;
  for (std::size_t w = 0; w < text.windows.size(); ++w)
    for (LossSums* sums : {&all, &by_domain[text.domains[w]]}) {
      sums->nll.add(text.clusters[w], window_nll[w],
                    static_cast<std::int64_t>(text.windows[w].num_scored()));
      sums->bytes += text.scored_bytes[w];
    }
  PerplexityResult result{.all = loss_of("", all), .windows = text.windows.size()};
  if (by_domain.size() > 1 || !by_domain.begin()->first.empty())
    for (const auto& [domain, sums] : by_domain) result.domains.push_back(loss_of(domain, sums));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Json to_json(const PerplexityResult& result) {
  Json json = to_json(result.all);
  json["windows"] = result.windows;
  json["seconds"] = result.seconds;
  json["tokens_per_second"] = result.tokens_per_second();
  for (const TextLoss& domain : result.domains)
    json["domains"][domain.domain.empty() ? "(none)" : domain.domain] = to_json(domain);
  return json;
}

TokenId start_token_of(const DecoderConfig& config, const Tokenizer* tokenizer) {
  if (tokenizer != nullptr)
    if (const auto added = tokenizer->encode("", true); !added.empty()) return added.front();
  if (config.bos_token >= 0) return config.bos_token;
  return config.eos_tokens.empty() ? -1 : config.eos_tokens.front();
}

}  // namespace talpa
