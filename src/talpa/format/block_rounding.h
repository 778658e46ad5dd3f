#pragma once

#include <cstddef>
#include <cstdint>

#include "talpa/format/dtype.h"
#include "talpa/format/scale_search.h"

namespace talpa {

/// The formats whose elements are a scale times an integer, taken apart for those who choose the
/// integers themselves: Q8_0, Q4_0, Q3_0, Q2_0, all in blocks of 32.
constexpr int kRoundedBlock = 32;

bool has_levels(DType dtype);
/// Integers that an element may be; throws kUnsupported for other formats.
detail::BlockLevels levels_of(DType dtype);
/// Scale of least squared error for 32 elements, as fp16 holds it; 0 for zeros.
float best_scale_of(DType dtype, const float* elements);
/// Writes the block of 32 levels, within levels_of(dtype), and a scale.
void store_block(DType dtype, float scale, const std::int8_t* levels, std::byte* block);

}  // namespace talpa
