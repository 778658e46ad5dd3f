#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Alike experts become one (HC-SMoE, Chen et al. 2025, arXiv 2410.08589): experts are clustered
/// hierarchically with average linkage by the distance of their mean outputs on calibration rows,
/// without calibration by that of their weights, and a cluster's experts are replaced by their
/// mean, weighted by how often each was used. The router keeps its rows, and no file layout lets
/// several of them share an expert, so the merged expert is written once for each of them;
/// LayerFit::expert_params counts it once.
class MergeMethod : public Method {
 public:
  const char* name() const override { return "merge"; }
  const char* summary() const override { return "alike experts become their mean (HC-SMoE)"; }

  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;
};

/// Average linkage: starting from single ones, the two clusters with the smallest mean distance
/// between their members are joined until `count` are left. Cluster of each element, numbered by
/// first element; ties go to the lowest numbers.
std::vector<std::int64_t> average_linkage(const at::Tensor& distance_NN, std::int64_t count);

}  // namespace talpa::convert
