#pragma once

#include <cstdint>
#include <string>

namespace talpa::testing {

/// A safetensors file of this header and data, whatever they hold.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i)
    bytes[i] = static_cast<char>(std::uint64_t{header.size()} >> (8 * i));
  return bytes + header + data;
}

}  // namespace talpa::testing
