#pragma once

#include <string>

#include "talpa/engine/model.h"

namespace talpa {

/// How a model's routed experts are to be run, and why, in words for the log.
struct ExpertChoice {
  ExpertForm form = ExpertForm::kDense;  ///< kLatent or kDense
  std::string reason;                    ///< empty where there is nothing to choose
};

/// `dense_bytes`: what the dense experts would take as held; `available`: memory, 0 = unknown,
/// which counts as enough. See ExpertForm. Throws kConfig when kLatent is asked of experts that
/// are not latent.
ExpertChoice choose_experts(const DecoderConfig& config, ExpertForm wanted,
                            std::uint64_t dense_bytes, std::uint64_t available);

/// Bound of the cache: as asked for, or a quarter of `formed_bytes` (all formed experts) and at
/// most half of `available`; never more than `formed_bytes`.
std::uint64_t expert_cache_bytes(std::optional<std::uint64_t> wanted, std::uint64_t formed_bytes,
                                 std::uint64_t available);

/// Bytes of all routed experts of the model if they were dense, held as `wanted` or as stored.
std::uint64_t dense_expert_bytes(const ModelFiles& files, std::optional<DType> wanted);

}  // namespace talpa
