#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "talpa/convert/bases_objective.h"
#include "talpa/convert/layer_experts.h"
#include "talpa/convert/method.h"
#include "talpa/convert/mixed_bases.h"
#include "talpa/format/dtype.h"

namespace talpa::convert {

/// Experts on mixed bases of one projection as a file holds them (model/weights.h): the mix
/// instead of its logits, low-rank bases in one gauge.
struct StoredBases {
  at::Tensor own_NMR, mix_NG;
  at::Tensor bases_GYD;            ///< whole bases (Y = R), or V (Y = K)
  at::Tensor basis_GXK, pivot_GR;  ///< of low-rank bases
  BasisActivation activation = BasisActivation::kSilu;

  /// Bases multiplied out.
  at::Tensor bases_GRD() const;
  /// By the names of model/weights.h; down in its own orientation.
  std::map<std::string, at::Tensor> named(Side side) const;
};

/// Of a fit of W / sigma. Bases and mix are rounded to what `dtype` holds (F16, BF16; else not),
/// so that what follows sees what will be read.
StoredBases stored_bases(const MixedBases& fitted, double sigma, DType dtype);

/// Replaces the own matrix of every expert by the least-squares solution in the metric, where that
/// has the smaller error; A enters linearly, so this ends every fit. Returns how many it replaced.
int refit_own(StoredBases& bases, const BasesTarget& experts, const BasesMetric& metric);

}  // namespace talpa::convert
