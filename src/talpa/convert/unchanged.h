#pragma once

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Experts as they are: for what comes after, rounding to a GGUF's types.
class UnchangedMethod : public Method {
 public:
  const char* name() const override { return "none"; }
  const char* summary() const override { return "experts as they are, to be rounded only"; }

  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;
};

}  // namespace talpa::convert
