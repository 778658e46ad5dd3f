#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace talpa::testing {

/// Writes GGUF files by hand, right or wrong.
class GgufBytes {
 public:
  template <class T>
  GgufBytes& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBytes& u32(std::uint32_t value) { return number(value); }
  GgufBytes& u64(std::uint64_t value) { return number(value); }
  GgufBytes& text(const std::string& value) {
    u64(value.size());
    bytes_ += value;
    return *this;
  }
  GgufBytes& header(std::uint64_t tensors, std::uint64_t pairs, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return u32(version).u64(tensors).u64(pairs);
  }
  /// Dimensions are {width, height}, as in the file.
  GgufBytes& tensor(const std::string& name, std::uint64_t width, std::uint64_t height,
                    std::uint32_t type, std::uint64_t offset) {
    return text(name).u32(2).u64(width).u64(height).u32(type).u64(offset);
  }
  /// Pads to the alignment and appends bytes of data.
  std::string with_data(std::size_t size, std::size_t alignment = 32) const {
    std::string file = bytes_;
    file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + std::string(size, '\0');
  }

 private:
  std::string bytes_;
};

}  // namespace talpa::testing
