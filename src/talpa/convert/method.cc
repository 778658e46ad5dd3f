#include "talpa/convert/method.h"

#include <fmt/ranges.h>

#include "talpa/convert/delta.h"
#include "talpa/convert/linear.h"
#include "talpa/convert/merge.h"
#include "talpa/convert/mobe.h"
#include "talpa/convert/prune.h"
#include "talpa/convert/slbf.h"
#include "talpa/convert/unchanged.h"

namespace talpa::convert {

at::ScalarType kept_type(const ConvertOptions& options) {
  const bool as_written = !options.gguf && !options.materialise && options.dtype == DType::kBF16;
  return as_written ? at::kBFloat16 : at::kFloat;
}

LayerSpectra Method::spectra(const LayerExperts&, const DecoderConfig&, const FitContext&) const {
  fail(ErrorCode::kUsage, "method {} has no spectra to give layers their widths by", name());
}

const std::vector<const Method*>& methods() {
  static const SvdMethod svd;
  static const WhitenedSvdMethod svd_whitened;
  static const Tucker2Method tucker2;
  static const PruneMethod prune;
  static const MergeMethod merge;
  static const DeltaMethod delta;
  static const UnchangedMethod unchanged;
  static const MobeMethod mobe;
  static const MobePlusMethod mobe_plus;
  static const SlbfMethod slbf;
  static const SlbfPlusMethod slbf_plus;
  static const std::vector<const Method*> all = {&svd,       &svd_whitened, &tucker2,   &mobe,
                                                 &mobe_plus, &slbf,         &slbf_plus, &prune,
                                                 &merge,     &delta,        &unchanged};
  return all;
}

const Method& method_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Method* method : methods()) {
    if (name == method->name()) return *method;
    names.emplace_back(method->name());
  }
  fail(ErrorCode::kUsage, "unknown method {}; known: {}", name, fmt::join(names, ", "));
}

}  // namespace talpa::convert
