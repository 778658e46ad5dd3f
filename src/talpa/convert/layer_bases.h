#pragma once

#include <utility>
#include <vector>

#include "talpa/convert/bases_fit.h"
#include "talpa/convert/bases_method.h"
#include "talpa/convert/method.h"
#include "talpa/convert/side_store.h"
#include "talpa/convert/stored_bases.h"

namespace talpa::convert {

/// The projections of one layer, fitted to mixed bases one by one by a method's settings.
class LayerBases {
 public:
  LayerBases(const BasesMethod& method, const LayerExperts& experts, const DecoderConfig& target,
             const FitContext& context, bool weighted);

  LayerFit run() const;
  /// Seconds that run() would take without what is stored, from a few steps of gate and of down:
  /// up takes as long as gate. Logs what a step takes.
  double estimate() const;

 private:
  /// Those of the method, made ready for rounding where a file will round experts' own matrices.
  BasesFitSettings settings_for(Side side) const;
  struct Problem;
  struct Cost {
    double rest = 0, step = 0;  ///< seconds of what comes before and after; of a step
  };

  Problem problem_of(Side side) const;
  MixedBases start(const BasesTarget& target, Side side) const;
  SideStore::Finished fit_side(std::size_t place, const SideStore& store) const;
  MixedBases fitted_bases(std::size_t place, const Problem& problem, const SideStore& store) const;
  void run_fit(std::size_t place, BasesFit& fit, const SideStore& store) const;
  SideStore::Finished finished(MixedBases best, Side side, const Problem& problem) const;
  Cost estimate_side(Side side) const;

  const BasesMethod& method_;
  const LayerExperts& experts_;
  const LatentConfig latent_;  ///< of the layer
  const int group_size_;
  const FitContext& context_;
  const bool weighted_;
  const BasesFitSettings settings_;
  std::vector<Side> sides_;
};

}  // namespace talpa::convert
