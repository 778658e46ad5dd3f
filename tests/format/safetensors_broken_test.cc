#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/memory_file.h"
#include "format/safetensors_bytes.h"
#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/format/tensor_store.h"

namespace talpa {
namespace {

namespace fs = std::filesystem;
using testing::golden;
using testing::MemoryFile;
using testing::safetensors_bytes;
using testing::Scratch;

struct BrokenHeader {
  const char* header;
  std::size_t data_bytes;
  const char* part;
};

constexpr BrokenHeader kBroken[] = {
    {"", 0, "must begin with {"},
    {" {}", 0, "must begin with {"},
    {"[]", 0, "must begin with {"},
    {"{", 0, "not JSON at its byte"},
    {"{}}", 0, "not JSON at its byte"},
    {R"({"a":1})", 0, "tensor a: expected an object with dtype"},
    {R"({"a":null})", 0, "got null"},
    {R"({"a":[1]})", 0, "got a list"},
    {R"({"a":{}})", 0, "tensor a: dtype is missing"},
    {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "tensor a: shape is missing"},
    {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor a: data_offsets is missing"},
    {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype: expected a string"},
    {R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "shape: expected a list"},
    {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "got a negative number"},
    {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "not a 64-bit integer"},
    {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "got a list"},
    {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
     "not a 64-bit integer"},
    {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
     "shape has a size of 18446744073709551615"},
    {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "63 bits"},
    {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0,
     "63 bits"},
    {R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "64 bits"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "data_offsets has 1 numbers"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "more than 2 numbers"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "end before they begin"},
    {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
     "tensor a: f32 of shape [2] takes 8 bytes, but data_offsets [0, 4] hold 4"},
    {R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8, "takes 4 bytes"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown key x"},
    {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
     "key dtype comes twice"},
    {R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", 4,
     "key shape comes twice"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
     R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     8, "tensor a: the name comes twice"},
    {R"({"__metadata__":{"k":"v","k":"w"}})", 0, "key k comes twice"},
    {R"({"__metadata__":{"k":1}})", 0, "expected strings as values"},
    {R"({"__metadata__":{"k":{}}})", 0, "expected strings as values"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
     6, "tensor b begins at byte 2 and overlaps the one that ends at 4"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
     4, "overlaps"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
     "bytes 0 to 4 before tensor a belong to no tensor"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 6,
     "the last 2 bytes belong to no tensor"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3,
     "tensor a ends at byte 4 of the data, which has 3"},
    {"{}", 1, "the last 1 bytes belong to no tensor"},
};

TEST(SafetensorsBroken, EveryDefectIsNamed) {
  for (const BrokenHeader& row : kBroken) {
    SCOPED_TRACE(row.header);
    const MemoryFile file(safetensors_bytes(row.header, std::string(row.data_bytes, 'x')));
    EXPECT_TALPA_ERROR(open_safetensors(file.path()), kFormat, row.part);
    EXPECT_TALPA_ERROR(open_safetensors(file.path()), kFormat, file.path().string());
  }
}

TEST(SafetensorsBroken, UnknownTypesNameTheTensor) {
  for (const char* dtype : {"F8_E4M3", "f32", "", "Q8_0"}) {
    const MemoryFile file(safetensors_bytes(
        fmt::format(R"({{"w":{{"dtype":"{}","shape":[4],"data_offsets":[0,4]}}}})", dtype),
        "abcd"));
    EXPECT_TALPA_ERROR(open_safetensors(file.path()), kUnsupported,
                       fmt::format("tensor w: dtype {}", dtype));
  }
}

void expect_broken(const std::string& bytes, const std::string& part) {
  const MemoryFile file(bytes);
  EXPECT_TALPA_ERROR(open_safetensors(file.path()), kFormat, part);
}

TEST(SafetensorsBroken, DeepNestingAndLongNamesAreBounded) {
  std::string deep = R"({"a":)";
  for (int i = 0; i < 200000; ++i) deep += "{\"a\":";
  expect_broken(safetensors_bytes(deep, ""), "unknown key a");
  expect_broken(safetensors_bytes("{\"" + std::string(5000, 'n') + "\":{}}", ""),
                "a tensor name has 5000 bytes");
  expect_broken(safetensors_bytes("{\"\xff\":{}}", ""), "not JSON at its byte");
  std::string flat = R"({"a":{"shape":[1)";
  for (int i = 0; i < 100; ++i) flat += ",1";
  expect_broken(safetensors_bytes(flat, ""), "shape has more than 32 numbers");
}

TEST(SafetensorsBroken, EveryTruncationIsAnError) {
  const std::string whole = read_text(golden("format/plain.safetensors"));
  for (std::size_t length = 0; length < whole.size(); ++length)
    expect_broken(whole.substr(0, length), length < 8 ? "too few" : "cut short");
}

TEST(SafetensorsBroken, LengthsOutOfRangeAreErrors) {
  expect_broken(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
                "claims 18446744073709551615 bytes");
  expect_broken(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "more than 100000000");
  expect_broken(std::string("\x03\0\0\0\0\0\0\0{}", 10), "claims 3 bytes, but only 2 follow");
}

TEST(SafetensorsBroken, FlippedHeaderBitsNeverLeaveTheFile) {
  const std::string whole = read_text(golden("format/plain.safetensors"));
  int errors = 0;
  for (std::size_t bit = 0; bit < 8 * 800; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const MemoryFile file(flipped);
    try {
      const auto store = open_safetensors(file.path());
      for (const auto& [name, view] : store->tensors()) read_floats(view);
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
      ++errors;
    }
  }
  EXPECT_GT(errors, 4000);
}

class BrokenShards : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto& file : fs::directory_iterator(golden("format/sharded")))
      fs::copy_file(file.path(), scratch_ / file.path().filename().string());
  }
  void write_index(const std::string& weight_map) {
    write_text(scratch_ / "model.safetensors.index.json", R"({"weight_map":)" + weight_map + "}");
  }
  static constexpr const char* kFirst = "model-00001-of-00002.safetensors";
  static constexpr const char* kSecond = "model-00002-of-00002.safetensors";
  Scratch scratch_;
};

TEST_F(BrokenShards, MissingShard) {
  fs::remove(scratch_ / kSecond);
  EXPECT_TALPA_ERROR(open_safetensors(scratch_.path()), kNotFound,
                     "shard model-00002-of-00002.safetensors is missing");
}

TEST_F(BrokenShards, IndexAndShardsDisagree) {
  const std::string first = kFirst, second = kSecond;
  const struct {
    std::string weight_map;
    const char* part;
  } rows[] = {
      {R"({"a":")" + first + R"(","b":")" + second + R"(","c":")" + second + R"("})",
       "tensor c is listed for model-00002-of-00002.safetensors, which does not hold it"},
      {R"({"a":")" + first + R"(","c":")" + second + R"("})", "tensor b is not listed in"},
      {R"({"a":")" + second + R"(","b":")" + first + R"("})", "tensor a is listed for model-00002"},
      {R"({"a":")" + first + R"(","a":")" + second + R"("})", "key a comes twice"},
      {R"({"a":1})", "weight_map: a: expected a file name, got number"},
      {R"({"a":"../model.safetensors"})", "is not the name of a file beside the index"},
      {R"({"a":"/etc/passwd"})", "is not the name of a file beside the index"},
      {R"({"a":".."})", "is not the name of a file beside the index"},
      {R"({"a":""})", "is not the name of a file beside the index"},
      {"[]", "expected an object with an object weight_map"},
      {"{", "not JSON at byte"},
  };
  for (const auto& row : rows) {
    write_index(row.weight_map);
    EXPECT_TALPA_ERROR(open_safetensors(scratch_.path()), kFormat, row.part);
  }
}

TEST_F(BrokenShards, TensorInTwoShards) {
  fs::copy_file(scratch_ / kFirst, scratch_ / kSecond, fs::copy_options::overwrite_existing);
  write_text(scratch_ / "third", "");
  write_index(std::string(R"({"a":")") + kFirst + R"(","b":")" + kSecond + R"("})");
  EXPECT_TALPA_ERROR(open_safetensors(scratch_.path()), kFormat, "tensor a is in two shards");
}

TEST_F(BrokenShards, DeepIndexIsBounded) {
  write_index(std::string(100000, '['));
  EXPECT_TALPA_ERROR(open_safetensors(scratch_.path()), kFormat, "nested deeper than 32");
}

}  // namespace
}  // namespace talpa
