#pragma once

#include <cstddef>
#include <cstdint>

#include "talpa/format/dtype.h"

namespace talpa {

/// True where blocks of one format are blocks of another with the same quants, only the scales
/// written differently:
///   Q5_0 and Q4_0 as Q8_0: exact, d q with q in -16..15 or -8..7.
///   Q3_0 and Q2_0 as Q4_0 or Q8_0: exact, d q with q in -4..3 or -2..1.
///   Q4_K as Q4_1: w = (d scale_g) q - (m min_g), both products rounded to fp16, that is
///   |error| <= 2^-11 (|d scale_g| q + |m min_g|), where one step of q is d scale_g. Small products
///   lose nothing: they are multiples of d and m, which are fp16 themselves.
bool can_repack(DType from, DType to);

/// Rewrites `count` elements, whole blocks of both. Throws kUnsupported for other pairs, and where
/// a product exceeds fp16 or is no number.
void repack(DType from, DType to, const std::byte* source, std::byte* target, std::int64_t count);

}  // namespace talpa
