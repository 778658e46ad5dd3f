#include "talpa/convert/widths.h"

#include <torch/torch.h>

#include <algorithm>
#include <optional>

#include "talpa/base/error.h"
#include "talpa/convert/bases_plan.h"
#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"

namespace talpa::convert {

namespace {

/// What each further step of width holds for what it takes.
std::vector<double> gains_of(const WidthItem& item, int step) {
  const at::Tensor values_D = item.spectrum_D.to(torch::kDouble).clamp_min(0);
  if (!values_D.isfinite().all().item<bool>())
    fail(ErrorCode::kFormat,
         "sizes by layer: experts or calibration hold values that are not finite");
  const std::int64_t end = std::min(values_D.size(0), item.widest);
  std::vector<double> gains;
  for (std::int64_t begin = 0; begin + step <= end; begin += step)
    gains.push_back(values_D.narrow(0, begin, step).sum().item<double>() / item.cost);
  return gains;
}

}  // namespace

std::vector<int> widths_by_spectrum(const std::vector<WidthItem>& items, double budget, int step) {
  std::vector<std::vector<double>> gains;
  std::vector<int> widths;
  for (const WidthItem& item : items) {
    gains.push_back(gains_of(item, step));
    widths.push_back(item.least);
    budget -= item.cost * item.least;
  }
  constexpr double kRounding = 1e-6;
  for (;;) {
    std::optional<std::size_t> best;
    double best_gain = -1;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto next = static_cast<std::size_t>(widths[i] / step);
      if (next >= gains[i].size() || items[i].cost * step > budget + kRounding) continue;
      if (gains[i][next] <= best_gain) continue;
      best = i;
      best_gain = gains[i][next];
    }
    if (!best) return widths;
    widths[*best] += step;
    budget -= items[*best].cost * step;
  }
}

WidthBudget::WidthBudget(const DecoderConfig& original, const DecoderConfig& target,
                         const Method& method, const ConvertOptions& options)
    : original_(original),
      method_(method),
      options_(options),
      latent_(target.moe.latent),
      low_rank_(latent_.basis_rank > 0) {
  if (!latent_.enabled())
    fail(ErrorCode::kUsage, "method {} has no latent widths to give to layers", method.name());
  if (low_rank_ && (options.latent.latent_dim > 0 || options.latent.basis_rank > 0))
    fail(ErrorCode::kUsage,
         "sizes by layer: {} chooses latent widths and basis ranks itself; give a budget alone",
         method.name());
  if (low_rank_)
    step_ = 1;
  else if (options.gguf)
    step_ = kBlockWidthStep;
  const int layers = num_moe_layers(original);
  // A share is of parameters; bits, and what a given width takes, are counted in bytes of the file.
  const bool in_bytes = options.gguf && options.budget == 0;
  auto taken_by = [&](const DecoderConfig& config) {
    return in_bytes ? static_cast<double>(expert_bytes_in_file(config, *options.gguf)) / layers
                    : static_cast<double>(stored_expert_params(config, expert_parts(config)));
  };
  DecoderConfig counted = target;
  if (low_rank_) counted.moe.latent = linear_latent(latent_);
  auto with_widths = [&](int in, int out) {
    counted.moe.latent.latent_dim = in;
    counted.moe.latent.down_latent_dim = out;
    return taken_by(counted);
  };
  const double least = with_widths(step_, step_);
  in_.matrices = int{latent_.factor_gate} + int{latent_.factor_up};
  out_.matrices = int{latent_.factor_down};
  in_.cost = (with_widths(2 * step_, step_) - least) / step_;
  out_.cost = (with_widths(step_, 2 * step_) - least) / step_;
  dense_ = taken_by(original);
  for (Direction* direction : {&in_, &out_}) {
    if (direction->matrices == 0) continue;
    direction->widest = latent_.mixed ? widest_own(original) : original.dim;
    // Bytes may be those of types too narrow to fill them with matrices as they were.
    if (in_bytes) continue;
    const double before = dense_ * direction->matrices / std::size(kSides);
    direction->widest =
        std::min(direction->widest, static_cast<std::int64_t>((before - 1) / direction->cost));
  }
  both_ = {.matrices = in_.matrices + out_.matrices,
           .cost = in_.cost + out_.cost,
           .widest = std::min(in_.widest, out_.widest)};
  const double rest = least - step_ * both_.cost;
  double most = taken_by(target);
  if (options.budget > 0) most = options.budget * dense_;
  if (options.bits > 0)
    most = options.bits / 8 * static_cast<double>(account_of(original).expert_params) / layers;
  budget_ = (most - rest) * layers;
  for (Direction* direction : {&in_, &out_, &both_})
    if (direction->matrices > 0) direction->least = least_of(*direction);
  const double needed =
      std::max(in_.least * in_.cost + out_.least * out_.cost, both_.least * both_.cost);
  if (budget_ < needed * layers)
    fail(
        ErrorCode::kConfig,
        "sizes by layer: {} layers need {:.1f} % of their experts each at least, but have {:.1f} %",
        layers, 100 * (needed + rest) / dense_, 100 * most / dense_);
}

LatentConfig WidthBudget::give(const std::vector<LayerSpectra>& spectra) const {
  std::vector<WidthItem> items;
  std::vector<std::pair<const Direction*, LatentSize*>> places;
  std::vector<LatentSize> in(spectra.size()), out(spectra.size());
  bool has_out = false;
  auto add = [&](const at::Tensor& spectrum_D, const Direction& direction, LatentSize& size) {
    items.push_back({spectrum_D, direction.cost, direction.least, direction.widest});
    places.emplace_back(&direction, &size);
  };
  for (std::size_t l = 0; l < spectra.size(); ++l) {
    const LayerSpectra& layer = spectra[l];
    if (layer.in_D.defined() && layer.out_D.defined() && !layer.apart) {
      add(layer.in_D + layer.out_D, both_, in[l]);
      continue;
    }
    if (layer.in_D.defined()) add(layer.in_D, in_, in[l]);
    if (!layer.out_D.defined()) continue;
    has_out = in_.matrices > 0;
    // The general sizes are those of gate and up, if these have any.
    add(layer.out_D, out_, has_out ? out[l] : in[l]);
  }
  const std::vector<int> widths = widths_by_spectrum(items, budget_, step_);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& [direction, size] = places[i];
    *size = low_rank_ ? planned(*direction, widths[i]) : LatentSize{widths[i], 0};
  }
  auto put = [&](const std::vector<LatentSize>& sizes, int LatentSize::*what, int& scalar,
                 std::vector<int>& of_layers) {
    of_layers.clear();
    for (const LatentSize& size : sizes) of_layers.push_back(size.*what);
    scalar = *std::max_element(of_layers.begin(), of_layers.end());
  };
  LatentConfig latent = latent_;
  put(in, &LatentSize::width, latent.latent_dim, latent.latent_dims);
  if (low_rank_) put(in, &LatentSize::rank, latent.basis_rank, latent.basis_ranks);
  if (!has_out) return latent;
  put(out, &LatentSize::width, latent.down_latent_dim, latent.down_latent_dims);
  if (low_rank_) put(out, &LatentSize::rank, latent.down_basis_rank, latent.down_basis_ranks);
  return latent;
}

int WidthBudget::least_of(const Direction& direction) const {
  for (int width = step_; low_rank_ && width <= direction.widest; ++width) {
    try {
      planned(direction, width);
      return width;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kConfig || width == direction.widest) throw;
    }
  }
  return step_;
}

LatentSize WidthBudget::planned(const Direction& direction, int width) const {
  constexpr double kAll = std::size(kSides);
  ConvertOptions alone = options_;
  if (&direction == &in_) alone.latent.factor_down = false;
  if (&direction == &out_) alone.latent.factor_gate = alone.latent.factor_up = false;
  alone.budget = (kAll - direction.matrices) / kAll + width * direction.cost / dense_;
  return method_.plan(original_, alone).moe.latent.input_size();
}

}  // namespace talpa::convert
