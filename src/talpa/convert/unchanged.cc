#include "talpa/convert/unchanged.h"

#include "talpa/base/error.h"
#include "talpa/convert/plan.h"

namespace talpa::convert {

DecoderConfig UnchangedMethod::plan(const DecoderConfig& original,
                                    const ConvertOptions& options) const {
  refuse_latent_options(options, name());
  if (options.budget > 0 || options.num_experts > 0)
    fail(ErrorCode::kUsage, "method none keeps all parameters: it takes no budget");
  if (!options.gguf) fail(ErrorCode::kUsage, "method none rounds experts, which needs a GGUF");
  return original;
}

LayerFit UnchangedMethod::fit(const LayerExperts&, const DecoderConfig&, const FitContext&) const {
  return {};
}

double UnchangedMethod::estimate_seconds(const LayerExperts&, const DecoderConfig&,
                                         const FitContext&) const {
  return 0;
}

}  // namespace talpa::convert
