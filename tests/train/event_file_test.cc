#include "talpa/train/event_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa::train {
namespace {

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::uint32_t masked(const std::string& bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

TEST(EventFile, Crc32cOfThePublishedExample) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);  // RFC 3720, B.4 and others
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
}

TEST(EventFile, RecordsAreFramedAndHoldTheirScalars) {
  const testing::Scratch scratch;
  {
    EventFile events(scratch.path(), 0);
    events.scalar(300, "loss", 2.5);
    events.flush();
  }
  std::string bytes;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path()))
    bytes = read_text(entry.path());
  std::vector<std::string> records;
  for (std::size_t offset = 0; offset < bytes.size();) {
    const auto length = at<std::uint64_t>(bytes, offset);
    EXPECT_EQ(at<std::uint32_t>(bytes, offset + 8), masked(bytes.substr(offset, 8)));
    records.push_back(bytes.substr(offset + 12, length));
    EXPECT_EQ(at<std::uint32_t>(bytes, offset + 12 + length), masked(records.back()));
    offset += 16 + length;
  }
  ASSERT_EQ(records.size(), 2u);
  EXPECT_NE(records[0].find("brain.Event:2"), std::string::npos);
  // Step 300 as a varint; then the tag, and 2.5 as a fixed32 behind its key.
  EXPECT_NE(records[1].find("\x10\xac\x02"), std::string::npos);
  const std::size_t tag = records[1].find("loss");
  ASSERT_NE(tag, std::string::npos);
  EXPECT_EQ(records[1][tag + 4], '\x15');
  EXPECT_EQ(at<float>(records[1], tag + 5), 2.5F);
}

}  // namespace
}  // namespace talpa::train
