#pragma once

#include <cstdint>
#include <string>

#include "talpa/convert/bases_fit.h"
#include "talpa/convert/method.h"

namespace talpa::convert {

/// Experts on mixed bases, fitted by steps: what MoBE and SLBF and their variants share. Every
/// projection of a layer is fitted by itself, all experts together, on weights divided by their
/// standard deviation; the end is a least-squares solution for the experts' own matrices on the
/// bases as they will be stored. With a scratch folder finished projections are kept there, and
/// the one that is being fitted is every minute and when the fit is stopped; going on from there
/// gives what would have come without the stop.
class BasesMethod : public Method {
 public:
  bool is_iterative() const override { return true; }
  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  /// From linear latents in groups of as many experts as share a basis (loss_power), in the metric
  /// of a calibration if there is one, whatever the fit's: it says what layers matter.
  LayerSpectra spectra(const LayerExperts& experts, const DecoderConfig& target,
                       const FitContext& context) const override;
  /// Also logs what a step takes.
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;

  /// Steps, rates and schedule that options leave open are the method's own.
  BasesFitSettings settings(const ConvertOptions& options) const;
  /// Where a fit of `target_NMD`, of unit mean square, starts.
  virtual MixedBases start(const at::Tensor& target_NMD, const LatentConfig& latent, int group_size,
                           std::uint64_t seed) const = 0;

 protected:
  /// The latent setting that options ask for, with all sizes.
  virtual LatentConfig latent_of(const DecoderConfig& original,
                                 const ConvertOptions& options) const = 0;
  virtual BasesFitSettings own_settings() const = 0;
  /// Where linear latents of the same groups and size leave a share t of a projection's square,
  /// fits leave about t to this power, in whatever layer and at whatever size (measured with the
  /// weighted -plus fits on a trained model).
  virtual double loss_power() const = 0;
  /// Errors are weighted by the calibration's moments.
  virtual bool is_weighted(const ConvertOptions& options) const { return options.weighted; }
};

}  // namespace talpa::convert
