#pragma once

#include <optional>

#include "talpa/base/threads.h"
#include "talpa/engine/held_rows.h"
#include "talpa/model/weights.h"

namespace talpa {

/// The matrices along the first of three dimensions of a tensor, transposed if asked, one below
/// the other. Held as `wanted`, or as stored; the file's pages are given back.
HeldRows read_factors(const ModelFiles& files, const std::string& name, bool transposed,
                      std::optional<DType> wanted, ThreadPool& pool);

/// held_type() of a stored tensor, which an error names.
DType held_type_of(const ModelFiles& files, const std::string& name, std::optional<DType> wanted);

/// Bytes of a packed matrix.
std::uint64_t packed_bytes(std::int64_t rows, std::int64_t columns, DType dtype);

/// y [columns, rows] of x [rows, columns].
void transpose(const float* x, std::int64_t rows, std::int64_t columns, float* y);

}  // namespace talpa
