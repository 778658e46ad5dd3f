#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace talpa::train {

/// CRC-32C (Castagnoli) of bytes.
std::uint32_t crc32c(std::string_view bytes);

/// A TensorBoard event file: records of a length, its masked CRC, a protobuf `Event` and its
/// masked CRC (TensorFlow's record format), scalars only.
class EventFile {
 public:
  /// A new file in `directory`. Where a run goes on after step `resumed_step`, TensorBoard drops
  /// what earlier files say of later steps.
  EventFile(const std::filesystem::path& directory, std::int64_t resumed_step);

  void scalar(std::int64_t step, std::string_view tag, double value);
  void flush();

 private:
  void record(const std::string& event);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace talpa::train
