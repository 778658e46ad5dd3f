#include "talpa/convert/widths.h"

#include <torch/torch.h>

#include <queue>

namespace talpa::convert {

namespace {

/// Shares of a layer that each further step of width holds.
std::vector<double> gains_of(const at::Tensor& spectrum_D, int step) {
  const at::Tensor shares_D = spectrum_D.to(torch::kDouble).clamp_min(0);
  const double all = std::max(shares_D.sum().item<double>(), 1e-300);
  std::vector<double> gains;
  for (std::int64_t begin = 0; begin + step <= shares_D.size(0); begin += step)
    gains.push_back(shares_D.narrow(0, begin, step).sum().item<double>() / all);
  return gains;
}

}  // namespace

std::vector<int> widths_by_spectrum(const std::vector<at::Tensor>& spectra, std::int64_t total,
                                    int step) {
  struct Gain {
    double share;
    std::size_t layer;
    bool operator<(const Gain& other) const {
      return share != other.share ? share < other.share : layer > other.layer;
    }
  };
  std::vector<std::vector<double>> gains(spectra.size());
  std::vector<int> widths(spectra.size(), 0);
  std::priority_queue<Gain> open;
  auto offer = [&](std::size_t layer) {
    const auto next = static_cast<std::size_t>(widths[layer] / step);
    if (next < gains[layer].size()) open.push({gains[layer][next], layer});
  };
  std::int64_t left = total;
  for (std::size_t layer = 0; layer < spectra.size(); ++layer) {
    if (!spectra[layer].defined()) continue;
    gains[layer] = gains_of(spectra[layer], step);
    widths[layer] = step;
    left -= step;
    offer(layer);
  }
  for (; left >= step && !open.empty(); left -= step) {
    const std::size_t layer = open.top().layer;
    open.pop();
    widths[layer] += step;
    offer(layer);
  }
  return widths;
}

}  // namespace talpa::convert
