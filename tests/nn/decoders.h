#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "talpa/model/decoder_config.h"
#include "talpa/nn/decoder.h"

namespace talpa::testing {

struct NamedConfig {
  std::string name;
  DecoderConfig config;
};

inline void PrintTo(const NamedConfig& named, std::ostream* out) { *out << named.name; }

/// Tiny descriptions: one of every family, and an MoE with every kind of latent experts.
std::vector<NamedConfig> family_configs();
std::vector<NamedConfig> latent_configs();
std::vector<NamedConfig> all_configs();

/// A tiny MoE: 4 experts, top-2, two layers.
DecoderConfig tiny_moe();

/// Decoder in fp64 with every parameter drawn from Normal(0, 0.4), norms around one, so that
/// no part of the arithmetic is negligible.
nn::Decoder random_decoder(const DecoderConfig& config, std::uint64_t seed,
                           at::ScalarType dtype = at::kDouble);

/// int64 [sequences, tokens] below vocab_size.
at::Tensor random_tokens(const DecoderConfig& config, int sequences, int tokens,
                         std::uint64_t seed);

}  // namespace talpa::testing
