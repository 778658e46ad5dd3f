#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

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

}  // namespace talpa::convert
