#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/file.h"
#include "talpa/format/dtype.h"

namespace talpa {

using Shape = std::vector<std::int64_t>;

/// Elements of a shape; throws kFormat on a negative size or overflow.
std::int64_t num_elements(const Shape& shape);
/// "[2, 3]".
std::string to_string(const Shape& shape);

/// A stored tensor: row-major, bytes inside a mapped file (valid while its store lives).
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// The named tensors of a safetensors file, a sharded set, or a GGUF. Opening maps the files and
/// reads headers only; every length, offset, overlap, count and type is checked before use, and
/// errors name file, tensor and byte.
class TensorStore {
 public:
  virtual ~TensorStore() = default;

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// Null if there is none.
  const TensorView* find(const std::string& name) const;
  /// Throws kNotFound naming the store and the nearest name.
  const TensorView& at(const std::string& name) const;
  /// Where it came from, for messages.
  const std::filesystem::path& path() const { return path_; }
  /// Bytes of all tensors.
  std::uint64_t total_bytes() const;
  /// Gives back the memory that reading `bytes` of a tensor took (MappedFile::release); the tensor
  /// stays readable. Does nothing for tensors that are not in a file.
  void release(std::span<const std::byte> bytes) const;

 protected:
  std::filesystem::path path_;
  std::vector<MappedFile> files_;  ///< what the views point into
  std::map<std::string, TensorView> tensors_;
};

/// Opens a `.safetensors` file, a `model.safetensors.index.json`, or a directory that holds
/// `model.safetensors` or the index and its shards. Throws kNotFound for a missing shard, kFormat
/// for a malformed header and where index and shards do not list the same tensors, kUnsupported
/// for an element type that is not one of DType.
std::shared_ptr<TensorStore> open_safetensors(const std::filesystem::path& path);

/// Reads a tensor as float.
std::vector<float> read_floats(const TensorView& view);

}  // namespace talpa
