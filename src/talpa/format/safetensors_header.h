#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/format/tensor_store.h"

namespace talpa {

/// Longest header that is read or written, in bytes, as in the reference implementation.
constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// One tensor of a safetensors header; its bytes are [begin, end) of the data behind the header.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Reads and checks the JSON of a header: types, keys (each once), shapes, sizes of the ranges.
/// Throws kFormat, or kUnsupported for an element type that talpa does not have, naming `file`
/// and the tensor.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view json,
                                                       const std::string& file);

/// Checks that the ranges cover [0, `data_bytes`) exactly, without gap or overlap; sorts the
/// entries by range. Throws kFormat naming `file`, tensor and byte.
void check_safetensors_ranges(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes,
                              const std::string& file);

/// Upper-case name that safetensors gives an element type, or nullptr for the block formats.
const char* safetensors_name(DType dtype);

}  // namespace talpa
