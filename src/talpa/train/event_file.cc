#include "talpa/train/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "talpa/base/error.h"

namespace talpa::train {

namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    table[byte] = byte;
    for (int bit = 0; bit < 8; ++bit)
      table[byte] = (table[byte] >> 1) ^ (table[byte] % 2 == 1 ? 0x82f63b78U : 0U);
  }
  return table;
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

/// Protobuf's key of a field.
enum Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
std::string key(int field, Wire wire) { return varint(static_cast<unsigned>(field << 3 | wire)); }

std::string bytes_field(int field, std::string_view bytes) {
  return key(field, kBytes) + varint(bytes.size()) + std::string(bytes);
}

/// Event: 1 wall_time, 2 step, then one of 3 file_version, 5 summary, 7 session_log.
std::string event_of(std::int64_t step, const std::string& what) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return key(1, kFixed64) + little_endian(now) + key(2, kVarint) +
         varint(static_cast<std::uint64_t>(step)) + what;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = crc_table();
  std::uint32_t crc = 0xffffffffU;
  for (const char c : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& directory, std::int64_t resumed_step) {
  std::filesystem::create_directories(directory);
  const bool goes_on = !std::filesystem::is_empty(directory);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  path_ = directory / fmt::format("events.out.tfevents.{}.talpa.{}",
                                  std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                                  getpid());
  out_.open(path_, std::ios::binary);
  record(event_of(0, bytes_field(3, "brain.Event:2")));
  constexpr char kStart = 1;  // SessionLog.START
  if (goes_on || resumed_step > 0)
    record(event_of(resumed_step + 1, bytes_field(7, key(1, kVarint) + std::string(1, kStart))));
  flush();
}

void EventFile::scalar(std::int64_t step, std::string_view tag, double value) {
  const std::string summary_value =
      bytes_field(1, tag) + key(2, kFixed32) + little_endian(static_cast<float>(value));
  record(event_of(step, bytes_field(5, bytes_field(1, summary_value))));
}

void EventFile::record(const std::string& event) {
  const std::string length = little_endian(static_cast<std::uint64_t>(event.size()));
  out_ << length << little_endian(masked_crc(length)) << event << little_endian(masked_crc(event));
}

void EventFile::flush() {
  if (!out_.flush()) fail(ErrorCode::kIo, "cannot write {}", path_.string());
}

}  // namespace talpa::train
