#pragma once

#include <cstdint>

#include "talpa/kernel/packed_matrix.h"
#include "talpa/model/weights.h"

namespace talpa {

/// Rows of random bf16 weights, to be packed: both signs, magnitudes within a factor of 16, mean
/// square within a factor of 2 of 1 / columns, nothing denormal. A row depends on the seed and its
/// number alone.
RowSource random_rows(std::int64_t rows, std::int64_t columns, std::uint64_t seed);

/// A decoder with random weights in memory, for Model::load: what time and bytes need, and no more.
/// Stored matrices of equal width are stretches of the same 32 MB, so that a description of any
/// size costs little before it is packed; norms are one, biases zero. Throws kConfig when the
/// description is not consistent.
ModelFiles random_model_files(const DecoderConfig& config, std::uint64_t seed);

}  // namespace talpa
