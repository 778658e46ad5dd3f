#pragma once

#include <cstdint>
#include <optional>

#include "talpa/format/dtype.h"

/// Numbers that GGUF files use for what they hold.
namespace talpa::gguf {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint32_t kMaxRank = 4;
/// Ids of talpa's own types lie here ("tal" and a byte), far from those that ggml counts up.
constexpr std::uint32_t kOwnTypes = 0x74616c00;
constexpr const char* kAlignmentKey = "general.alignment";

enum class ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
constexpr std::uint32_t kNumValueTypes = 13;

struct TensorType {
  std::uint32_t id;
  const char* name;
  std::optional<DType> dtype;  ///< nullopt: known, but not read
};

/// Null for a number that GGUF does not define.
const TensorType* tensor_type(std::uint32_t id);
/// Null for a type that GGUF does not have.
const TensorType* tensor_type(DType dtype);

}  // namespace talpa::gguf
