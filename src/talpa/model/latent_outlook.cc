// r latent width, k_b rank of a basis, N experts.
#include <algorithm>
#include <cmath>

#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"

namespace talpa {
namespace {

/// Largest real r at which the routed experts of a layer take `budget` parameters.
double latent_dim_at(const DecoderConfig& config, double budget) {
  const auto params = [&](int r) {
    return static_cast<double>(stored_expert_params(config, expert_parts(config, r)));
  };
  return 1 + (budget - params(1)) / (params(2) - params(1));
}

/// Largest k_b, a multiple of `step`, at which they take at most `budget`; 0 = none. The count
/// grows with k_b, for k_b < min(r, n).
int basis_rank_at(DecoderConfig config, double budget, int step) {
  auto fits = [&](int rank) {
    config.moe.latent.basis_rank = rank;
    return static_cast<double>(stored_expert_params(config, expert_parts(config))) <= budget;
  };
  int low = 0, high = (std::min(config.moe.latent.latent_dim, config.dim) - 1) / step;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (fits(middle * step))
      low = middle;
    else
      high = middle - 1;
  }
  return low * step;
}

std::string break_even(const DecoderConfig& config) {
  const auto dense = static_cast<double>(dense_expert_params(config));
  if (config.moe.latent.basis_rank > 0) {
    const int rank = basis_rank_at(config, dense - 1, 1);
    return rank > 0 ? fmt::format("basis_rank must be at most {}", rank)
                    : "no basis_rank is small enough";
  }
  const double even = latent_dim_at(config, dense);
  return even > 1 ? fmt::format("latent_dim must be below {:.1f}", even)
                  : "no latent_dim is small enough";
}

std::string why_refused(const DecoderConfig& config, double expert_ratio) {
  if (expert_ratio < 1) return {};
  return fmt::format("stores {:.3f} times the dense experts; with group_size = {} {}", expert_ratio,
                     config.group_size(), break_even(config));
}

double read_ratio(const DecoderConfig& latent, const DecoderConfig& dense, int batch) {
  return expert_bytes_read(latent, batch, 1) / expert_bytes_read(dense, batch, 1);
}

}  // namespace

LatentOutlook latent_outlook(const DecoderConfig& moe, const LatentConfig& latent) {
  LatentOutlook outlook;
  outlook.latent = latent;
  DecoderConfig dense = moe;
  dense.moe.latent = {};
  DecoderConfig changed = moe;
  changed.moe.latent = latent;
  try {
    changed.validate({});
    if (!changed.has_moe() || !latent.enabled())
      fail(ErrorCode::kConfig, "there are no experts to make latent");
  } catch (const Error& error) {
    outlook.refusal = error.what();
    return outlook;
  }
  const ExpertParts parts = expert_parts(changed);
  const auto dense_params = static_cast<double>(dense_expert_params(dense));
  const double N = moe.moe.num_experts;
  const auto params = static_cast<double>(stored_expert_params(changed, parts));
  outlook.rho =
      (params - N * static_cast<double>(parts.untouched)) / (N * static_cast<double>(parts.dense));
  outlook.expert_ratio = params / dense_params;
  const auto total = static_cast<double>(account_of(dense).total_params);
  outlook.model_ratio = 1 - num_moe_layers(dense) * (dense_params - params) / total;
  outlook.read_ratio_1 = read_ratio(changed, dense, 1);
  outlook.read_ratio_32 = read_ratio(changed, dense, 32);
  outlook.mac_ratio = expert_macs(changed) / expert_macs(dense);
  outlook.refusal = why_refused(changed, outlook.expert_ratio);
  return outlook;
}

std::optional<int> latent_dim_for_budget(const DecoderConfig& moe, LatentConfig latent,
                                         double budget, int step) {
  DecoderConfig config = moe;
  const int least = latent.basis_rank + 1;
  latent.latent_dim = least;
  config.moe.latent = latent;
  config.validate({});
  const auto dense = static_cast<double>(dense_expert_params(config));
  // The largest whole number whose share is within the budget, not one rounding below it.
  auto fits = [&](int r) {
    return static_cast<double>(stored_expert_params(config, expert_parts(config, r))) <=
           budget * dense;
  };
  const double largest = std::clamp(latent_dim_at(config, budget * dense), 0.0, 1e6);
  int r = (static_cast<int>(largest) / step + 1) * step;
  while (r >= least && !fits(r)) r -= step;
  return r >= least ? std::optional<int>(r) : std::nullopt;
}

std::optional<int> basis_rank_for_budget(const DecoderConfig& moe, LatentConfig latent,
                                         double budget, int step) {
  DecoderConfig config = moe;
  latent.basis_rank = 1;
  config.moe.latent = latent;
  config.validate({});
  const int rank =
      basis_rank_at(config, budget * static_cast<double>(dense_expert_params(config)), step);
  return rank > 0 ? std::optional<int>(rank) : std::nullopt;
}

}  // namespace talpa
