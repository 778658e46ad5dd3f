#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Widths by layer go in steps of this, in a GGUF in whole blocks.
inline constexpr int kWidthStep = 8, kBlockWidthStep = 32;

/// Latent widths of layers whose spectra are given ([D] each, descending, in one unit; empty for
/// layers without experts, which get 0): multiples of `step` that sum to `total` or less and lose
/// least, where a layer loses what is behind its width. Every layer with experts
/// has one step at least, which `total` must have room for. A step's gain only falls with the
/// width, so taking the largest first is the best choice (a greedy choice over convex costs).
std::vector<int> widths_by_spectrum(const std::vector<at::Tensor>& spectra, std::int64_t total,
                                    int step);

/// What a conversion's budget is in widths. Those of low-rank bases are of linear latents in the
/// same groups (linear_latent), which take as much.
class WidthBudget {
 public:
  /// Of a planned `target`, which has one size everywhere. Throws kUsage if it has no latents,
  /// kConfig if a step a layer is too much.
  WidthBudget(const DecoderConfig& original, const DecoderConfig& target,
              const ConvertOptions& options);

  /// The target's setting with sizes by layer, from Method::spectrum of every layer: its widths;
  /// of low-rank bases what the method plans for the layer's share.
  LatentConfig give(std::vector<at::Tensor> spectra, const Method& method,
                    const ConvertOptions& options) const;

 private:
  double share_of(int width) const { return (rest_ + one_ * width) / dense_; }

  const DecoderConfig& original_;
  const LatentConfig latent_;
  int step_ = kWidthStep;
  /// Parameters of a layer's experts: dense; with latents besides their widths, and a width.
  double dense_ = 0, rest_ = 0, one_ = 0;
  std::int64_t total_ = 0;   ///< widths of all layers together
  std::int64_t widest_ = 0;  ///< above it a layer would be larger than it was, or gain nothing
};

}  // namespace talpa::convert
