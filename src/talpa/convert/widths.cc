#include "talpa/convert/widths.h"

#include <torch/torch.h>

#include <algorithm>
#include <queue>

#include "talpa/base/error.h"
#include "talpa/convert/bases_plan.h"
#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"

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

WidthBudget::WidthBudget(const DecoderConfig& original, const DecoderConfig& target,
                         const ConvertOptions& options)
    : original_(original), latent_(target.moe.latent) {
  if (!latent_.enabled())
    fail(ErrorCode::kUsage, "method {} has no latent widths to give to layers", options.method);
  const bool low_rank = latent_.basis_rank > 0;
  DecoderConfig counted = target;
  if (low_rank) counted.moe.latent = linear_latent(latent_);
  auto params_of = [&](std::int64_t r) {
    return static_cast<double>(stored_expert_params(counted, expert_parts(counted, r)));
  };
  rest_ = params_of(0);
  one_ = params_of(1) - rest_;
  dense_ = static_cast<double>(dense_expert_params(original));
  if (low_rank)
    step_ = 1;
  else if (options.gguf)
    step_ = kBlockWidthStep;
  const double taken =
      options.budget > 0 ? options.budget * dense_
                         : static_cast<double>(stored_expert_params(target, expert_parts(target)));
  const int layers = num_moe_layers(original);
  total_ = static_cast<std::int64_t>((taken - rest_) / one_ * layers + 1e-9);
  widest_ = static_cast<std::int64_t>((dense_ - rest_ - 1) / one_);
  if (latent_.mixed) widest_ = std::min(widest_, std::int64_t{widest_own(original)});
  if (total_ < std::int64_t{step_} * layers || widest_ < step_)
    fail(ErrorCode::kConfig, "widths by layer go in steps of {}: {} layers have {} together", step_,
         layers, total_);
}

LatentConfig WidthBudget::give(std::vector<at::Tensor> spectra, const Method& method,
                               const ConvertOptions& options) const {
  for (at::Tensor& spectrum_D : spectra)
    if (spectrum_D.defined())
      spectrum_D = spectrum_D.narrow(0, 0, std::min(spectrum_D.size(0), widest_));
  const std::vector<int> widths = widths_by_spectrum(spectra, total_, step_);
  LatentConfig latent = latent_;
  latent.latent_dims = widths;
  if (latent.basis_rank > 0) {
    latent.basis_ranks = widths;
    ConvertOptions layer = options;
    layer.latent.latent_dim = layer.latent.basis_rank = 0;
    for (std::size_t l = 0; l < widths.size(); ++l) {
      if (widths[l] == 0) continue;
      layer.budget = share_of(widths[l]);
      const LatentConfig planned = method.plan(original_, layer).moe.latent;
      latent.latent_dims[l] = planned.latent_dim;
      latent.basis_ranks[l] = planned.basis_rank;
    }
    latent.basis_rank = *std::max_element(latent.basis_ranks.begin(), latent.basis_ranks.end());
  }
  latent.latent_dim = *std::max_element(latent.latent_dims.begin(), latent.latent_dims.end());
  return latent;
}

}  // namespace talpa::convert
