#pragma once

#include <string>
#include <vector>

#include "talpa/convert/options.h"
#include "talpa/model/decoder_config.h"

namespace talpa::search {

/// A conversion to try.
struct Candidate {
  std::string name;
  convert::ConvertOptions options;
};

/// Types that experts are rounded to, from most bits to fewest.
inline constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ3_0, DType::kQ2_0};

double bits_of(DType type);

/// All experts of all layers in these types.
convert::GgufTypes uniform_types(DType other, DType own, DType shared);

/// Conversions to a GGUF that take seconds a layer and keep the experts within `base.bits`:
/// rounding alone, latent experts of every sensible width, type and grouping, fewer experts.
/// Methods that need a calibration are there if `base` names one. Settings that would not fit or
/// not shrink are left out.
std::vector<Candidate> candidates(const DecoderConfig& original,
                                  const convert::ConvertOptions& base);

}  // namespace talpa::search
