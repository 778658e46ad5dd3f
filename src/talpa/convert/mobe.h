#pragma once

#include "talpa/convert/bases_method.h"

namespace talpa::convert {

/// MoBE (arXiv 2508.05257; mole.md 5.1): W_i = A_i f(sum_j mix_ij B_j), G bases [r, n], f = SiLU or
/// tanh. Fitted as published: Adam at 0.07 from the stacked SVD of consecutive groups with soft
/// one-hot mixes, and, beyond the paper, a least-squares A at the end. Down is left dense unless
/// asked for; spreading a budget evenly over all three is the better use of it.
class MobeMethod : public BasesMethod {
 public:
  const char* name() const override { return "mobe"; }
  const char* summary() const override { return "experts on mixed bases (MoBE), data-free"; }
  MixedBases start(const at::Tensor& target_NMD, const LatentConfig& latent, int group_size,
                   std::uint64_t seed) const override;

 protected:
  LatentConfig latent_of(const DecoderConfig& original,
                         const ConvertOptions& options) const override;
  BasesFitSettings own_settings() const override;
  double loss_power() const override { return 1.15; }
};

/// The same form, better fitted: A is solved for exactly at every step, so that only bases and
/// mixes are searched (variable projection), from sharper mixes and larger bases. With a
/// calibration it minimises the weighted error: what experts do, not their weights.
class MobePlusMethod : public MobeMethod {
 public:
  const char* name() const override { return "mobe-plus"; }
  const char* summary() const override {
    return "MoBE's form with exact own matrices, weighted by a calibration if given";
  }
  bool factors_down_by_default() const override { return true; }
  MixedBases start(const at::Tensor& target_NMD, const LatentConfig& latent, int group_size,
                   std::uint64_t seed) const override;

 protected:
  BasesFitSettings own_settings() const override;
  bool is_weighted(const ConvertOptions&) const override { return true; }
};

}  // namespace talpa::convert
