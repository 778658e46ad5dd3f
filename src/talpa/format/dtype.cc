#include "talpa/format/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <string>

#include "talpa/base/error.h"
#include "talpa/format/block_formats.h"
#include "talpa/format/half.h"

namespace talpa {

namespace {

constexpr std::array kInfos = {
    DTypeInfo{DType::kF64, "f64", 1, 8},
    DTypeInfo{DType::kF32, "f32", 1, 4},
    DTypeInfo{DType::kF16, "f16", 1, 2},
    DTypeInfo{DType::kBF16, "bf16", 1, 2},
    DTypeInfo{DType::kI64, "i64", 1, 8},
    DTypeInfo{DType::kI32, "i32", 1, 4},
    DTypeInfo{DType::kI16, "i16", 1, 2},
    DTypeInfo{DType::kI8, "i8", 1, 1},
    DTypeInfo{DType::kU8, "u8", 1, 1},
    DTypeInfo{DType::kBool, "bool", 1, 1},
    DTypeInfo{DType::kQ8_0, "q8_0", BlockQ8_0::kSize, sizeof(BlockQ8_0)},
    DTypeInfo{DType::kQ4_0, "q4_0", BlockQ4_0::kSize, sizeof(BlockQ4_0)},
    DTypeInfo{DType::kQ4_1, "q4_1", BlockQ4_1::kSize, sizeof(BlockQ4_1)},
    DTypeInfo{DType::kQ5_0, "q5_0", BlockQ5_0::kSize, sizeof(BlockQ5_0)},
    DTypeInfo{DType::kQ5_1, "q5_1", BlockQ5_1::kSize, sizeof(BlockQ5_1)},
    DTypeInfo{DType::kQ4_K, "q4_k", BlockQ4_K::kSize, sizeof(BlockQ4_K)},
    DTypeInfo{DType::kQ5_K, "q5_k", BlockQ5_K::kSize, sizeof(BlockQ5_K)},
    DTypeInfo{DType::kQ6_K, "q6_k", BlockQ6_K::kSize, sizeof(BlockQ6_K)},
    DTypeInfo{DType::kQ3_0, "q3_0", BlockQ3_0::kSize, sizeof(BlockQ3_0)},
    DTypeInfo{DType::kQ2_0, "q2_0", BlockQ2_0::kSize, sizeof(BlockQ2_0)},
};

constexpr std::array kWritten = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                                 DType::kQ4_0, DType::kQ4_1, DType::kQ3_0, DType::kQ2_0};

consteval bool in_enum_order() {
  for (std::size_t i = 0; i < kInfos.size(); ++i)
    if (static_cast<std::size_t>(kInfos[i].dtype) != i) return false;
  return true;
}
static_assert(in_enum_order());

}  // namespace

const DTypeInfo& info_of(DType dtype) {
  TALPA_CHECK(static_cast<std::size_t>(dtype) < kInfos.size());
  return kInfos[static_cast<std::size_t>(dtype)];
}

std::optional<DType> dtype_named(std::string_view name) {
  auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (const DTypeInfo& info : kInfos) {
    const std::string_view candidate = info.name;
    if (std::equal(name.begin(), name.end(), candidate.begin(), candidate.end(), same))
      return info.dtype;
  }
  return std::nullopt;
}

std::uint64_t bytes_of(DType dtype, std::uint64_t count) {
  const DTypeInfo& info = info_of(dtype);
  const auto size = static_cast<std::uint64_t>(info.block_size);
  if (count % size != 0)
    fail(ErrorCode::kShape, "{} elements are not whole blocks of {}, which hold {}", count,
         info.name, size);
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(count / size, static_cast<std::uint64_t>(info.block_bytes), &bytes))
    fail(ErrorCode::kFormat, "{} elements of {} are more bytes than 64 bits can count", count,
         info.name);
  return bytes;
}

bool is_float(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

bool is_quantised(DType dtype) { return info_of(dtype).block_size > 1; }

bool is_written(DType dtype) {
  return std::find(kWritten.begin(), kWritten.end(), dtype) != kWritten.end();
}

std::string written_types() {
  std::string names;
  for (const DType dtype : kWritten)
    names += (names.empty() ? "" : ", ") + std::string(name_of(dtype));
  return names;
}

float bf16_to_float(std::uint16_t bits) { return detail::widen_bf16(bits); }
std::uint16_t float_to_bf16(float value) { return detail::narrow_bf16(value); }
float f16_to_float(std::uint16_t bits) { return detail::widen_f16(bits); }
std::uint16_t float_to_f16(float value) { return detail::narrow_f16(value); }

}  // namespace talpa
