#include "talpa/convert/widths.h"

#include <torch/torch.h>

#include <queue>

namespace talpa::convert {

namespace {

/// What each further step of width holds.
std::vector<double> gains_of(const at::Tensor& spectrum_D, int step) {
  const at::Tensor values_D = spectrum_D.to(torch::kDouble).clamp_min(0);
  std::vector<double> gains;
  for (std::int64_t begin = 0; begin + step <= values_D.size(0); begin += step)
    gains.push_back(values_D.narrow(0, begin, step).sum().item<double>());
  return gains;
}

}  // namespace

std::vector<int> widths_by_spectrum(const std::vector<at::Tensor>& spectra, std::int64_t total,
                                    int step) {
  struct Gain {
    double held;
    std::size_t layer;
    bool operator<(const Gain& other) const {
      return held != other.held ? held < other.held : layer > other.layer;
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
