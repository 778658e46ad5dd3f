#include <gtest/gtest.h>

#include "format/gguf_bytes.h"
#include "format/memory_file.h"
#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/format/gguf.h"

namespace talpa {
namespace {

using testing::GgufBytes;
using testing::golden;
using testing::MemoryFile;

constexpr std::uint32_t kU8 = 0, kU32 = 4, kBool = 7, kString = 8, kArray = 9, kU64 = 10;
constexpr std::uint32_t kF32Tensor = 0, kQ8Tensor = 8;

struct BrokenBytes {
  std::string bytes;
  const char* part;
};

void expect_errors(const std::vector<BrokenBytes>& rows, ErrorCode code) {
  for (const BrokenBytes& row : rows) {
    const MemoryFile file(row.bytes);
    try {
      GgufFile::open(file.path());
      ADD_FAILURE() << row.part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(row.part), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(file.path()), std::string::npos) << error.what();
    }
  }
}

std::string one_pair(GgufBytes value) {
  return GgufBytes().header(0, 1).text("key").with_data(0, 1) + value.with_data(0, 1) +
         std::string(64, '\0');
}

TEST(GgufBroken, Header) {
  expect_errors(
      {{"", "magic number needs 4 bytes"},
       {"GGML" + std::string(20, '\0'), "not a GGUF file"},
       {"GGUF", "version needs 4 bytes"},
       {GgufBytes().header(1ull << 60, 0).with_data(0, 1), "tensors cannot fit in"},
       {GgufBytes().header(0, 3).with_data(30, 1), "3 metadata cannot fit in the 30 bytes"}},
      ErrorCode::kFormat);
  expect_errors(
      {{GgufBytes().header(0, 0, 1).with_data(0, 1), "GGUF version 1; talpa reads 2 and 3"},
       {GgufBytes().header(0, 0, 4).with_data(0, 1), "GGUF version 4"},
       {GgufBytes().header(0, 0, 3u << 24).with_data(0, 1), "big-endian"}},
      ErrorCode::kUnsupported);
}

TEST(GgufBroken, Metadata) {
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += GgufBytes().u32(kArray).u64(1).with_data(0, 1);
  expect_errors(
      {{GgufBytes().header(0, 1).u64(1ull << 62).with_data(64, 1), "metadata key needs 4611"},
       {GgufBytes().header(0, 1).text("\xff").with_data(64, 1), "a metadata key is not UTF-8"},
       {GgufBytes().header(0, 1).text(std::string(2000, 'k')).with_data(64, 1), "has 2000 bytes"},
       {one_pair(GgufBytes().u32(13)), "metadata key: unknown value type 13"},
       {one_pair(GgufBytes().u32(kBool).number<char>(2)), "2 is neither true nor false"},
       {one_pair(GgufBytes().u32(kString).u64(1ull << 40)), "metadata string needs 1099511627776"},
       {one_pair(GgufBytes().u32(kString).text("\xc0\x80")), "metadata key: a string is not UTF-8"},
       {one_pair(GgufBytes().u32(kString).text("\xed\xa0\x80")), "a string is not UTF-8"},
       {one_pair(GgufBytes().u32(kString).text("\xf4\x90\x80\x80")), "a string is not UTF-8"},
       {one_pair(GgufBytes().u32(kString).text("\xe2\x82")), "a string is not UTF-8"},
       {one_pair(GgufBytes().u32(kArray).u32(kU64).u64(1ull << 61)), "array elements cannot fit"},
       {one_pair(GgufBytes().u32(kArray).u32(99).u64(0)), "unknown value type 99"},
       {GgufBytes().header(0, 1).text("key").u32(kArray).with_data(0, 1) + nested,
        "arrays nested deeper than 4"},
       {GgufBytes().header(0, 1).text("key").u32(kArray).u32(kU8).u64(20u << 20).with_data(
            20u << 20, 1),
        "more than 16777216 array elements"},
       {GgufBytes().header(0, 2).text("k").u32(kU32).u32(1).text("k").u32(kU32).u32(1).with_data(0,
                                                                                                 1),
        "metadata key k comes twice"}},
      ErrorCode::kFormat);
}

std::string with_alignment(std::uint32_t alignment) {
  return GgufBytes()
      .header(1, 1)
      .text("general.alignment")
      .u32(kU32)
      .u32(alignment)
      .tensor("w", 4, 1, kF32Tensor, 0)
      .with_data(64);
}

TEST(GgufBroken, Alignment) {
  expect_errors(
      {{with_alignment(0), "general.alignment = 0 is not a power of two"},
       {with_alignment(48), "general.alignment = 48 is not a power of two"},
       {with_alignment(1u << 31), "is not a power of two up to 1048576"},
       {GgufBytes().header(0, 1).text("general.alignment").u32(kString).text("32").with_data(0),
        "general.alignment: expected an integer"}},
      ErrorCode::kFormat);
}

std::string one_tensor(std::uint64_t width, std::uint64_t height, std::uint32_t type,
                       std::uint64_t offset, std::size_t data) {
  return GgufBytes().header(1, 0).tensor("w", width, height, type, offset).with_data(data);
}

TEST(GgufBroken, Tensors) {
  const std::uint64_t big = 1ull << 40;
  expect_errors(
      {{one_tensor(4, 1, kF32Tensor, 8, 64), "tensor w: offset 8 is not a multiple of"},
       {one_tensor(4, 1, kF32Tensor, 64, 64), "tensor w: 16 bytes at offset 64 exceed the 64"},
       {one_tensor(4, 1, kF32Tensor, ~31ull, 64), "at offset 18446744073709551584 exceed"},
       {one_tensor(17, 1, kF32Tensor, 0, 64), "tensor w: 68 bytes at offset 0 exceed the 64"},
       {one_tensor(big, big, kF32Tensor, 0, 64), "tensor w: shape [1099511627776, 1099511627776]"},
       {one_tensor(1ull << 63, 1, kF32Tensor, 0, 64), "tensor w: dimension 9223372036854775808"},
       {one_tensor(1ull << 62, 1, kF32Tensor, 0, 64), "more bytes than 64 bits"},
       {one_tensor(16, 2, kQ8Tensor, 0, 64), "rows of 16 are not whole blocks of q8_0"},
       {GgufBytes().header(1, 0).text("w").u32(5).with_data(64), "tensor w: 5 dimensions"},
       {GgufBytes().header(1, 0).text("\xff").u32(1).with_data(64), "a tensor name is not UTF-8"},
       {GgufBytes().header(2, 0).tensor("w", 4, 1, 0, 0).tensor("w", 4, 1, 0, 32).with_data(64),
        "tensor w comes twice"},
       {GgufBytes().header(2, 0).tensor("a", 12, 1, 0, 0).tensor("b", 4, 1, 0, 32).with_data(64),
        "tensor b at offset 32 overlaps the one that ends at 48"},
       {GgufBytes().header(2, 0).tensor("a", 4, 1, 0, 0).tensor("b", 4, 1, 0, 0).with_data(64),
        "overlaps"}},
      ErrorCode::kFormat);
}

TEST(GgufBroken, TensorTypesThatAreNotRead) {
  expect_errors({{one_tensor(256, 1, 10, 0, 256), "tensor w has type Q2_K, which talpa does not"},
                 {one_tensor(256, 1, 39, 0, 256), "tensor w has type MXFP4"},
                 {one_tensor(256, 1, 5, 0, 256), "tensor w has type number 5"}},
                ErrorCode::kUnsupported);
}

TEST(GgufBroken, EveryTruncationIsAnError) {
  const std::string whole = read_text(golden("format/types.gguf"));
  constexpr std::size_t kPadding = 64;  // at most that much lies behind the last tensor
  for (std::size_t length = 0; length + kPadding < whole.size(); ++length) {
    const MemoryFile file(whole.substr(0, length));
    EXPECT_THROW(GgufFile::open(file.path()), Error) << length;
  }
}

TEST(GgufBroken, FlippedBitsNeverLeaveTheFile) {
  const std::string whole = read_text(golden("format/types.gguf"));
  int errors = 0;
  for (std::size_t bit = 0; bit < 8 * 1300; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const MemoryFile file(flipped);
    try {
      const auto store = GgufFile::open(file.path());
      for (const auto& [name, view] : store->tensors()) read_floats(view);
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
      ++errors;
    }
  }
  EXPECT_GT(errors, 3000);
}

}  // namespace
}  // namespace talpa
