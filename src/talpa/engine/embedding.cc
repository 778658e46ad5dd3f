#include "talpa/engine/embedding.h"

#include <cmath>

#include "talpa/base/error.h"

namespace talpa {

namespace {

/// Texts fed together: bounds the memory of keys and values.
constexpr std::size_t kMostTexts = 32;

std::vector<std::vector<float>> embed_group(Model& model,
                                            std::span<const std::vector<TokenId>> texts) {
  const auto dim = static_cast<std::size_t>(model.config().dim);
  std::vector<KvCache> caches;
  std::vector<std::vector<double>> sums(texts.size(), std::vector<double>(dim));
  std::vector<SequenceInput> inputs;
  for (const auto& text : texts) caches.emplace_back(model, static_cast<int>(text.size()));
  for (std::size_t i = 0; i < texts.size(); ++i)
    inputs.push_back({&caches[i], texts[i], LogitsWanted::kNone, sums[i]});
  model.forward(inputs);
  std::vector<std::vector<float>> vectors;
  for (const auto& sum : sums) vectors.push_back(unit_vector(sum));
  return vectors;
}

}  // namespace

std::vector<float> unit_vector(std::span<const double> sum) {
  double squares = 0;
  for (const double x : sum) squares += x * x;
  if (!std::isfinite(squares))
    fail(ErrorCode::kFormat, "the hidden states are not finite: the weights are broken");
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  std::vector<float> unit;
  for (const double x : sum) unit.push_back(static_cast<float>(x * scale));
  return unit;
}

std::vector<std::vector<float>> embed_texts(Model& model,
                                            std::span<const std::vector<TokenId>> texts) {
  for (const auto& text : texts)
    if (text.empty()) fail(ErrorCode::kUsage, "a text without tokens has no embedding");
  std::vector<std::vector<float>> vectors;
  for (std::size_t first = 0; first < texts.size(); first += kMostTexts) {
    const std::size_t count = std::min(kMostTexts, texts.size() - first);
    for (auto& vector : embed_group(model, texts.subspan(first, count)))
      vectors.push_back(std::move(vector));
  }
  return vectors;
}

}  // namespace talpa
