#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Widths by layer go in steps of this, in a GGUF in whole blocks; those that stand for low-rank
/// bases one by one.
inline constexpr int kWidthStep = 8, kBlockWidthStep = 32;

/// A latent that gets a width: its spectrum ([D], descending, in one unit with the others'), what a
/// width takes, and how narrow and how wide it may be.
struct WidthItem {
  at::Tensor spectrum_D;
  double cost = 1;
  int least = 0;  ///< a multiple of the step, which it gets in any case
  std::int64_t widest = 0;
};

/// Widths of `items`, multiples of `step`, that take `budget` or less; an item loses what is behind
/// its width. The step that holds most for what it takes goes first: as steps of an item only fall,
/// that loses least where costs are equal, and all but a last step's worth where they are not.
/// Throws kFormat for a spectrum that is not finite.
std::vector<int> widths_by_spectrum(const std::vector<WidthItem>& items, double budget, int step);

/// What a conversion's budget is in widths of latents into the experts and out of them. Those of
/// low-rank bases are of linear latents in the same groups (linear_latent), which take as much.
class WidthBudget {
 public:
  /// Of a planned `target`, which has one size everywhere; all must outlive it. Throws kUsage if it
  /// has no latents, or sizes of low-rank bases were asked for, kConfig if the least for each layer
  /// is too much.
  WidthBudget(const DecoderConfig& original, const DecoderConfig& target, const Method& method,
              const ConvertOptions& options);

  /// The target's setting with sizes by layer, from what Method::spectra gave for every layer: its
  /// widths; of low-rank bases what the method plans for as much.
  LatentConfig give(const std::vector<LayerSpectra>& spectra) const;

 private:
  /// The latents of gate and up, that of down, or all of one width.
  struct Direction {
    int matrices = 0;  ///< that are factored
    double cost = 0;   ///< of a width
    int least = 0;
    std::int64_t widest = 0;  ///< where sizes are shares: more would be larger than it was
  };

  int least_of(const Direction& direction) const;
  LatentSize planned(const Direction& direction, int width) const;

  const DecoderConfig& original_;
  const Method& method_;
  const ConvertOptions& options_;
  const LatentConfig latent_;
  const bool low_rank_;
  int step_ = kWidthStep;
  Direction in_, out_, both_;
  double dense_ = 0;   ///< a layer's dense experts take: parameters, or bytes
  double budget_ = 0;  ///< all widths together
};

}  // namespace talpa::convert
