#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace talpa {

/// Element types of stored tensors. The block formats follow GGUF: rows are cut into blocks of
/// `block_size` elements that share scales. Q3_0 and Q2_0 are talpa's own (block_formats.h): other
/// programs reject files that hold them.
enum class DType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ3_0,
  kQ2_0,
};

struct DTypeInfo {
  DType dtype;
  const char* name;  ///< lower case, e.g. "bf16", "q4_k"
  int block_size;    ///< elements a block
  int block_bytes;   ///< bytes a block
};

const DTypeInfo& info_of(DType dtype);
inline const char* name_of(DType dtype) { return info_of(dtype).name; }
/// By lower- or upper-case name; nullopt if there is none.
std::optional<DType> dtype_named(std::string_view name);
/// Bytes of `count` elements; throws kShape if `count` is not whole blocks, kFormat on overflow.
std::uint64_t bytes_of(DType dtype, std::uint64_t count);
/// F64, F32, F16, BF16.
bool is_float(DType dtype);
/// One of the block formats.
bool is_quantised(DType dtype);

/// Widens `count` elements (whole blocks) to float. Integers are converted by value.
void to_float(DType dtype, const std::byte* source, float* target, std::int64_t count);
/// Narrows floats to one of the types that talpa writes: F32, F16, BF16 (round to nearest even),
/// Q8_0, Q4_0, Q4_1, Q3_0, Q2_0; throws kUnsupported for the others. `count` is whole blocks.
/// Q3_0 and Q2_0 search the scale of least squared error; what they can hold exactly they keep.
void from_float(DType dtype, const float* source, std::byte* target, std::int64_t count);

/// True for the types that from_float narrows to.
bool is_written(DType dtype);
/// "f32, f16, ...", for messages.
std::string written_types();

float bf16_to_float(std::uint16_t bits);
std::uint16_t float_to_bf16(float value);
float f16_to_float(std::uint16_t bits);
std::uint16_t float_to_f16(float value);

}  // namespace talpa
