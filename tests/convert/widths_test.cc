#include "talpa/convert/widths.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <numeric>

namespace talpa::convert {
namespace {

/// Descending, with a fall-off of its own.
at::Tensor falling(std::int64_t width, int seed) {
  torch::manual_seed(seed);
  const double rate = 0.02 + 0.3 * torch::rand({}).item<double>();
  return torch::exp(-torch::arange(width, torch::kDouble) * rate) * (1 + 9 * seed);
}

double lost(const std::vector<at::Tensor>& spectra, const std::vector<int>& widths) {
  double sum = 0;
  for (std::size_t i = 0; i < spectra.size(); ++i)
    sum += spectra[i].slice(0, widths[i]).sum().item<double>();
  return sum;
}

TEST(WidthsBySpectrum, LoseLeastOfAllWithinTheTotal) {
  const std::vector<at::Tensor> spectra = {falling(32, 1), falling(32, 2), falling(32, 3)};
  for (const int total : {24, 40, 56, 90, 96}) {
    const auto widths = widths_by_spectrum(spectra, total, 8);
    EXPECT_LE(std::accumulate(widths.begin(), widths.end(), 0), total);
    double best = 1e9;
    for (int a = 8; a <= 32; a += 8)
      for (int b = 8; b <= 32; b += 8)
        for (int c = 8; c <= 32; c += 8)
          if (a + b + c <= total) best = std::min(best, lost(spectra, {a, b, c}));
    EXPECT_NEAR(lost(spectra, widths), best, 1e-9) << total;
  }
}

TEST(WidthsBySpectrum, LayersWithoutExpertsHaveNone) {
  const auto widths = widths_by_spectrum({falling(16, 1), {}, falling(16, 2)}, 24, 8);
  EXPECT_EQ(widths[1], 0);
  EXPECT_EQ(widths[0] + widths[2], 24);
}

}  // namespace
}  // namespace talpa::convert
