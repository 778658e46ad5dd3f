#include "talpa/eval/score.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa {

namespace {

/// Part of a window that is fed in one step.
struct Piece {
  std::size_t window;
  std::size_t begin, end;  ///< tokens fed
  bool scored;             ///< its rows predict tokens begin + 1 .. end
};

/// Windows fed together, and how far each has come.
class Batch {
 public:
  Batch(std::span<const Window> windows, std::size_t first, std::size_t count,
        std::size_t row_budget)
      : windows_(windows),
        first_(first),
        done_(count),
        rows_(std::max<std::size_t>(1, row_budget / count)) {}

  /// The next piece of every window that is not finished; the last token of a window is not fed,
  /// since nothing is behind it.
  std::vector<Piece> next() {
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < done_.size(); ++i) {
      const Window& window = windows_[first_ + i];
      const std::size_t last = window.tokens.size() - 1;
      if (done_[i] >= last) continue;
      const bool scored = done_[i] + 1 >= window.first_scored;
      const std::size_t end =
          scored ? std::min(done_[i] + rows_, last) : std::min(window.first_scored - 1, last);
      pieces.push_back({first_ + i, done_[i], end, scored});
      done_[i] = end;
    }
    return pieces;
  }

 private:
  std::span<const Window> windows_;
  std::size_t first_;
  std::vector<std::size_t> done_;
  std::size_t rows_;
};

std::vector<KvCache> make_caches(const Model& model, std::span<const Window> windows) {
  std::vector<KvCache> caches;
  for (const Window& window : windows)
    caches.emplace_back(model, static_cast<int>(window.tokens.size()));
  return caches;
}

std::vector<float> feed(Model& model, std::vector<KvCache>& caches, std::size_t first,
                        std::span<const Window> windows, const std::vector<Piece>& pieces) {
  std::vector<SequenceInput> inputs;
  for (const Piece& piece : pieces)
    inputs.push_back(
        {.cache = &caches[piece.window - first],
         .tokens =
             std::span(windows[piece.window].tokens).subspan(piece.begin, piece.end - piece.begin),
         .logits = piece.scored ? LogitsWanted::kAll : LogitsWanted::kNone});
  return model.forward(inputs);
}

std::vector<ScoreBlock> blocks_of(std::span<const Window> windows, const std::vector<Piece>& pieces,
                                  std::span<const float> logits, std::size_t vocab_size) {
  std::vector<ScoreBlock> blocks;
  std::size_t row = 0;
  for (const Piece& piece : pieces) {
    if (!piece.scored) continue;
    const std::size_t rows = piece.end - piece.begin;
    TALPA_CHECK((row + rows) * vocab_size <= logits.size());
    blocks.push_back(
        {.window = piece.window,
         .targets = std::span(windows[piece.window].tokens).subspan(piece.begin + 1, rows),
         .logits = logits.subspan(row * vocab_size, rows * vocab_size)});
    row += rows;
  }
  return blocks;
}

void check_models(std::span<Model* const> models) {
  TALPA_CHECK(!models.empty());
  for (const Model* model : models)
    if (model->config().vocab_size != models[0]->config().vocab_size)
      fail(ErrorCode::kShape, "vocabularies of {} and {} tokens cannot be compared",
           models[0]->config().vocab_size, model->config().vocab_size);
}

}  // namespace

std::int64_t tokens_fed(std::span<const Window> windows) {
  std::int64_t total = 0;
  for (const Window& window : windows) total += static_cast<std::int64_t>(window.tokens.size()) - 1;
  return total;
}

void score_windows(std::span<Model* const> models, std::span<const Window> windows,
                   const ScoreOptions& options,
                   const std::function<void(std::size_t, std::span<const ScoreBlock>)>& receive) {
  check_models(models);
  const auto vocab_size = static_cast<std::size_t>(models[0]->config().vocab_size);
  const std::size_t row_budget = options.logit_bytes / (vocab_size * sizeof(float));
  std::int64_t fed = 0;
  const auto batch_size = static_cast<std::size_t>(std::max(1, options.batch));
  for (std::size_t first = 0; first < windows.size(); first += batch_size) {
    const std::size_t count = std::min(batch_size, windows.size() - first);
    std::vector<std::vector<KvCache>> caches;
    for (const Model* model : models)
      caches.push_back(make_caches(*model, windows.subspan(first, count)));
    Batch batch(windows, first, count, row_budget);
    for (auto pieces = batch.next(); !pieces.empty(); pieces = batch.next()) {
      for (std::size_t m = 0; m < models.size(); ++m) {
        if (options.cancelled != nullptr && options.cancelled->load())
          fail(ErrorCode::kInterrupted, "interrupted");
        const std::vector<float> logits = feed(*models[m], caches[m], first, windows, pieces);
        receive(m, blocks_of(windows, pieces, logits, vocab_size));
      }
      for (const Piece& piece : pieces) fed += static_cast<std::int64_t>(piece.end - piece.begin);
      if (options.progress) options.progress(fed);
    }
  }
}

}  // namespace talpa
