#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "talpa/base/error.h"

namespace talpa::gguf {

/// Reads little-endian values from mapped bytes; every read is checked against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  /// `what` says in an error what was being read.
  template <class T>
  T number(const char* what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }

  /// A 64-bit length and that many bytes.
  std::string_view string(const char* what) {
    const auto length = number<std::uint64_t>(what);
    return {take(length, what), length};
  }

  /// A count of items that take at least `item_bytes` each.
  std::uint64_t count(std::uint64_t item_bytes, const char* what) {
    const std::uint64_t begin = position_;
    const auto count = number<std::uint64_t>(what);
    if (count > left() / item_bytes)
      fail(ErrorCode::kFormat, "{}: byte {}: {} {} cannot fit in the {} bytes left", file_, begin,
           count, what, left());
    return count;
  }

 private:
  const char* take(std::uint64_t length, const char* what) {
    if (length > left())
      fail(ErrorCode::kFormat,
           "{}: byte {}: {} needs {} bytes, {} are left; the file may be cut "
           "short",
           file_, position_, what, length, left());
    const auto* at = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += length;
    return at;
  }

  std::span<const std::byte> bytes_;
  std::string file_;
  std::uint64_t position_ = 0;
};

}  // namespace talpa::gguf
