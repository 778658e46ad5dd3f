#pragma once

#include "talpa/convert/method.h"

namespace talpa::convert {

/// One base expert and a low-rank difference for each: W_i ~ base + U_i V_i (D2-MoE, Gu et al.
/// 2025, arXiv 2502.17298). base is the mean of the experts weighted by their routed mass (the
/// paper: Fisher information, which needs gradients; the semi-dynamic pruning of the base is left
/// out); the difference is cut to rank r in the metric of the expert's inputs (gate, up) or
/// hidden activations (down). Without calibration, plain mean and plain SVD. The file layouts
/// have no form for it: dense experts are written, LayerFit::expert_params counts base and factors,
/// 3 (m n + N r (m + n)).
class DeltaMethod : public Method {
 public:
  const char* name() const override { return "delta"; }
  const char* summary() const override {
    return "one base expert and a low-rank difference each (D2-MoE)";
  }

  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;
};

/// The closest matrix of rank r to `matrix` [m, n] in a metric: |E|_F^2 where both are undefined,
/// tr(E right E^T) for right [n, n], tr(E^T left E) for left [m, m]. At most one is defined.
at::Tensor cut_in_metric(const at::Tensor& matrix_MD, std::int64_t rank, const at::Tensor& left_MM,
                         const at::Tensor& right_DD);

}  // namespace talpa::convert
