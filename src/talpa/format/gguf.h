#pragma once

#include <concepts>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/base/file.h"
#include "talpa/format/tensor_sequence.h"
#include "talpa/format/tensor_store.h"

namespace talpa {

/// A GGUF file, version 2 or 3, little-endian. Metadata values are JSON (arrays as JSON arrays);
/// shapes are row-major, that is GGUF's dimensions reversed. Tensor types F64, F32, F16, BF16,
/// I8..I64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, and talpa's own Q3_0 and Q2_0, whose
/// numbers no other program knows; any other throws kUnsupported naming the tensor and its type.
/// Names and strings are checked to be UTF-8.
class GgufFile : public TensorStore {
 public:
  /// Throws kNotFound, kIo, kFormat or kUnsupported naming file, key or tensor, and byte.
  static std::shared_ptr<GgufFile> open(const std::filesystem::path& path);

  const std::map<std::string, Json>& metadata() const { return metadata_; }
  /// Null if absent.
  const Json* find_metadata(const std::string& key) const;
  /// T: bool, an integer or floating-point type, std::string, or a std::vector of these. Throws
  /// kFormat naming the file and the key if absent or of another type.
  template <class T>
  T metadata_as(const std::string& key) const;

 private:
  friend class GgufReader;
  [[noreturn]] void fail_metadata(const std::string& key, const char* expected) const;

  std::map<std::string, Json> metadata_;
};

/// True if the file begins with GGUF's magic number.
bool is_gguf(const std::filesystem::path& path);

/// Writes a GGUF version 3 file, streamed in the order of `entries` (types for which
/// is_written), alignment 32. Metadata keep their order and their JSON type: integers are written
/// as u32 when they fit (else i64 or u64), floating-point numbers as f32, arrays by their elements'
/// type (integers as i32 when all fit). `general.alignment` is left to the writer.
class GgufWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    Shape shape;  ///< row-major
  };
  /// Throws kUsage if a name or key comes twice, kShape if rows are not whole blocks,
  /// kUnsupported for a type that is not written, kIo if the file cannot be written.
  GgufWriter(const std::filesystem::path& path,
             const std::vector<std::pair<std::string, Json>>& metadata, std::vector<Entry> entries);
  /// Appends the next tensor's bytes, whole or in pieces; throws kInternal if they overrun.
  void write(const std::string& name, std::span<const std::byte> bytes);
  /// Throws kInternal if a tensor is incomplete.
  void finish();

 private:
  void pad_to(std::uint64_t size);

  AtomicFile file_;
  TensorSequence sequence_;
  std::uint64_t data_begin_ = 0;
};

namespace detail {

/// False if `json` is not a T.
template <class T>
bool read_metadata(const Json& json, T& out) {
  if constexpr (IsVector<T>::value) {
    if (!json.is_array()) return false;
    out.resize(json.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      typename T::value_type value{};
      if (!read_metadata(json[i], value)) return false;
      out[i] = std::move(value);
    }
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return false;
    out = json.get_ref<const std::string&>();
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return false;
    out = json.get<bool>();
    return true;
  } else if constexpr (std::integral<T>) {
    if (!json.is_number_integer()) return false;
    out = json.get<T>();
    return json.is_number_unsigned() ? std::in_range<T>(json.get<std::uint64_t>())
                                     : std::in_range<T>(json.get<std::int64_t>());
  } else {
    static_assert(std::floating_point<T>, "metadata are never of this type");
    if (!json.is_number()) return false;
    out = json.get<T>();
    return true;
  }
}

template <class T>
constexpr const char* metadata_type() {
  if constexpr (IsVector<T>::value) return "an array of the right type";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  return std::integral<T> ? "an integer that fits" : "a number";
}

}  // namespace detail

template <class T>
T GgufFile::metadata_as(const std::string& key) const {
  T value{};
  const Json* json = find_metadata(key);
  if (!json || !detail::read_metadata(*json, value)) fail_metadata(key, detail::metadata_type<T>());
  return value;
}

}  // namespace talpa
