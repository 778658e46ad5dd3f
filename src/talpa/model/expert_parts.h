#pragma once

#include <cstdint>

#include "talpa/model/decoder_config.h"

namespace talpa {

/// Parameters of one MoE layer's routed experts by how a token reaches them.
struct ExpertParts {
  std::int64_t dense = 0;          ///< of the factored matrices, were they dense, one expert
  std::int64_t untouched = 0;      ///< matrices that are not factored, one expert
  std::int64_t per_expert = 0;     ///< factors and mixing weights that each expert has of its own
  std::int64_t per_group = 0;      ///< latent projections of a group, or bases
  std::int64_t mixing = 0;         ///< the part of per_expert that does not grow with r
  std::int64_t group_macs = 0;     ///< multiply-adds of a row with what a group has
  std::int64_t formed = 0;         ///< elements of an expert's mixed bases once formed
  std::int64_t mixed_outputs = 0;  ///< multiply-adds of an expert's mixing of outputs of bases
};
ExpertParts expert_parts(const DecoderConfig& config);
/// With another latent_dim, at least 1 but not necessarily valid: every count is linear in it.
ExpertParts expert_parts(DecoderConfig config, int r);

/// Routed-expert parameters of one layer.
std::int64_t stored_expert_params(const DecoderConfig& config, const ExpertParts& parts);
/// The same of dense experts.
std::int64_t dense_expert_params(const DecoderConfig& config);

/// Multiply-adds of one token in the routed experts of one layer.
double expert_macs(const DecoderConfig& config);
int num_moe_layers(const DecoderConfig& config);

}  // namespace talpa
