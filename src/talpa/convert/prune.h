#pragma once

#include <vector>

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Fewer experts: those stay whose output is largest where they are used (REAP, Lasby et al. 2025,
/// arXiv 2510.13999, eq. 9: the mean over an expert's rows of p |E(x)|_2). An expert that no row
/// was sent to goes first.
class PruneMethod : public Method {
 public:
  /// Rows an expert must have seen on average, or scores are refused as noise.
  static constexpr std::int64_t kMinMeanRows = 32;

  const char* name() const override { return "prune"; }
  const char* summary() const override { return "fewer experts, chosen by their output (REAP)"; }
  bool needs_statistics() const override { return true; }

  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;
};

/// The `count` experts that REAP keeps, ascending; ties go to the lowest number.
std::vector<std::int64_t> kept_experts(const LayerStatistics& statistics, std::int64_t count);

}  // namespace talpa::convert
