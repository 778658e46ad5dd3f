#pragma once

#include <string>
#include <tuple>

#include "talpa/base/config.h"

namespace talpa {

/// How an encoder's vectors of tokens become one of the text.
enum class Pooling : std::uint8_t { kMean, kFirst };
template <>
struct EnumNames<Pooling> {
  static constexpr std::pair<Pooling, const char*> table[] = {{Pooling::kMean, "mean"},
                                                              {Pooling::kFirst, "first"}};
};

/// What an encoder is: BERT (arXiv 1810.04805), that is learned positions, post-norm, LayerNorm,
/// attention of every token to all, GELU.
struct EncoderConfig {
  int vocab_size = 0;
  int dim = 0;
  int num_layers = 0;
  int num_heads = 0;
  int ffn_dim = 0;
  double norm_eps = 1e-12;
  int max_positions = 512;
  int num_token_types = 2;
  Pooling pooling = Pooling::kMean;

  static constexpr auto fields() {
    using C = EncoderConfig;
    return std::tuple{field("vocab_size", &C::vocab_size, "tokens"),
                      field("dim", &C::dim, "model width"),
                      field("num_layers", &C::num_layers, "layers"),
                      field("num_heads", &C::num_heads, "attention heads"),
                      field("ffn_dim", &C::ffn_dim, "width of feed-forward layers"),
                      field("norm_eps", &C::norm_eps, "epsilon of LayerNorm"),
                      field("max_positions", &C::max_positions, "longest text"),
                      field("num_token_types", &C::num_token_types, "kinds of segments"),
                      field("pooling", &C::pooling, "vector of a text: mean, first (token)")};
  }
  /// Throws kConfig naming the setting: sizes positive and bounded, heads divide the width.
  void validate(const std::string& path) const;
  bool operator==(const EncoderConfig&) const = default;
};

/// Description from a BERT's config.json, pooling aside; throws kFormat, and kUnsupported for an
/// option that changes the arithmetic and is not known.
EncoderConfig from_hf_encoder_config(const Json& config, const std::string& source);

}  // namespace talpa
