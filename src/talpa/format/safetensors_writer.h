#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/file.h"
#include "talpa/format/tensor_sequence.h"
#include "talpa/format/tensor_store.h"

namespace talpa {

/// Writes one safetensors file, streamed: the list of tensors is given first, then their bytes
/// in that order, so that peak memory is one tensor. `__metadata__` gets `format: pt` besides
/// what is passed. The file appears under its name only at finish().
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    Shape shape;
  };
  /// Throws kUsage if a name comes twice or is no tensor name, kUnsupported for a block format,
  /// kIo if the file cannot be written.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                    std::map<std::string, std::string> metadata = {});

  /// Appends the next tensor's bytes, whole or in pieces; throws kInternal if they overrun.
  void write(const std::string& name, std::span<const std::byte> bytes);
  /// Throws kInternal if a tensor is incomplete.
  void finish();

 private:
  AtomicFile file_;
  TensorSequence sequence_;
};

}  // namespace talpa
