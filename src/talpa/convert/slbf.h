#pragma once

#include "talpa/convert/bases_method.h"

namespace talpa::convert {

/// SLBF, shared low-rank basis factorisation (mole.md 5.2): W_i = A_i SiLU(sum_j mix_ij U_j V_j)
/// with as many bases as experts, each of rank k_b, and r = m where the budget allows. Fitted as
/// published: AdamW from the "matrix sign", bases at rho times the rate of A and mix, cosine; a
/// diverged fit is done again with rho halved; then gauge fixing and, beyond the paper, a
/// least-squares A.
class SlbfMethod : public BasesMethod {
 public:
  const char* name() const override { return "slbf"; }
  const char* summary() const override {
    return "experts on mixed low-rank bases (SLBF), data-free";
  }
  bool factors_down_by_default() const override { return true; }
  MixedBases start(const at::Tensor& target_NMD, const LatentConfig& latent, int group_size,
                   std::uint64_t seed) const override;

 protected:
  LatentConfig latent_of(const DecoderConfig& original,
                         const ConvertOptions& options) const override;
  BasesFitSettings own_settings() const override;
  double loss_power() const override { return 1.5; }
  virtual BasisActivation own_activation() const { return BasisActivation::kSilu; }
};

/// The same form, better fitted: tanh, A solved for exactly at every step (variable projection)
/// from bases that fill all rows, and, with a calibration, the weighted error minimised.
class SlbfPlusMethod : public SlbfMethod {
 public:
  const char* name() const override { return "slbf-plus"; }
  const char* summary() const override {
    return "SLBF's form with exact own matrices, weighted by a calibration if given";
  }
  MixedBases start(const at::Tensor& target_NMD, const LatentConfig& latent, int group_size,
                   std::uint64_t seed) const override;

 protected:
  BasesFitSettings own_settings() const override;
  BasisActivation own_activation() const override { return BasisActivation::kTanh; }
  bool is_weighted(const ConvertOptions&) const override { return true; }
};

}  // namespace talpa::convert
