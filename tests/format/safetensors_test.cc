#include <gtest/gtest.h>

#include <cstring>

#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/format/tensor_store.h"

namespace talpa {
namespace {

namespace fs = std::filesystem;
using testing::golden;
using testing::Scratch;

std::span<const std::byte> bytes_of_floats(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

TEST(Safetensors, ReadsEveryTypeThatThePythonPackageWrites) {
  const auto store = open_safetensors(golden("format/plain.safetensors"));
  EXPECT_EQ(store->tensors().size(), 12u);
  for (const char* name : {"f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8"}) {
    const TensorView& view = store->at(name);
    EXPECT_EQ(view.dtype, dtype_named(name));
    EXPECT_EQ(view.shape, (Shape{2, 3}));
    EXPECT_EQ(read_floats(view), (std::vector<float>{-2, -1, 0, 1, 2, 3})) << name;
  }
  EXPECT_EQ(read_floats(store->at("u8")), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(read_floats(store->at("bool")), (std::vector<float>{0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(store->at("scalar").shape, Shape{});
  EXPECT_EQ(read_floats(store->at("scalar")), std::vector<float>{2.5f});
  EXPECT_EQ(store->at("empty").shape, (Shape{0, 4}));
  EXPECT_TRUE(store->at("empty").bytes.empty());
  EXPECT_EQ(store->total_bytes(), 6u * (8 + 4 + 2 + 2 + 8 + 4 + 2 + 1 + 1 + 1) + 4);
}

TEST(Safetensors, NamesTheNearestTensor) {
  const auto store = open_safetensors(golden("format/plain.safetensors"));
  EXPECT_EQ(store->find("bf17"), nullptr);
  EXPECT_TALPA_ERROR(store->at("bf17"), kNotFound, "no tensor bf17; the nearest name is bf16");
}

TEST(Safetensors, OpensDirectoriesIndexesAndFiles) {
  for (const char* name : {"format/sharded", "format/sharded/model.safetensors.index.json"}) {
    const auto store = open_safetensors(golden(name));
    EXPECT_EQ(store->tensors().size(), 2u);
    EXPECT_EQ(read_floats(store->at("b")), (std::vector<float>{6, 7, 8, 9, 10, 11}));
  }
  Scratch scratch;
  fs::copy_file(golden("format/plain.safetensors"), scratch / "model.safetensors");
  EXPECT_EQ(open_safetensors(scratch.path())->tensors().size(), 12u);
}

TEST(Safetensors, SaysWhatADirectoryLacks) {
  Scratch scratch;
  EXPECT_TALPA_ERROR(open_safetensors(scratch.path()), kNotFound,
                     "holds neither model.safetensors");
  write_text(scratch / "pytorch_model.bin", "x");
  EXPECT_TALPA_ERROR(open_safetensors(scratch.path()), kNotFound, "save its pytorch_model.bin as");
  EXPECT_TALPA_ERROR(open_safetensors(scratch / "absent"), kNotFound, "absent");
}

TEST(SafetensorsWriter, RoundTripsInPieces) {
  Scratch scratch;
  const std::vector<float> a = {1, 2, 3, 4};
  const std::vector<float> b = {5, 6};
  SafetensorsWriter writer(scratch / "m.safetensors",
                           {{"z", DType::kF32, {2, 2}},
                            {"none", DType::kF32, {0}},
                            {"a.bf16", DType::kBF16, {4}},
                            {"end", DType::kF32, {}}},
                           {{"step", "7"}});
  writer.write("z", bytes_of_floats({1, 2}));
  writer.write("z", bytes_of_floats({3, 4}));
  writer.write("a.bf16", bytes_of_floats(b));
  EXPECT_FALSE(fs::exists(scratch / "m.safetensors"));
  writer.write("end", bytes_of_floats({9}));
  writer.finish();
  const auto store = open_safetensors(scratch / "m.safetensors");
  EXPECT_EQ(store->tensors().size(), 4u);
  EXPECT_EQ(read_floats(store->at("z")), a);
  EXPECT_EQ(store->at("a.bf16").bytes.size(), 8u);
  EXPECT_EQ(std::memcmp(store->at("a.bf16").bytes.data(), b.data(), 8), 0);
  EXPECT_EQ(read_floats(store->at("end")), std::vector<float>{9});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(store->at("z").bytes.data()) % 8, 0u);
}

TEST(SafetensorsWriter, WritesTheHeaderThatOthersExpect) {
  Scratch scratch;
  SafetensorsWriter writer(scratch / "m.safetensors", {{"a", DType::kF16, {1, 2}}}, {});
  writer.write("a", std::vector<std::byte>(4));
  writer.finish();
  const std::string text = read_text(scratch / "m.safetensors");
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"data_offsets":[0,4],"dtype":"F16","shape":[1,2]}})";
  EXPECT_EQ(text.substr(8, header.size()), header);
  EXPECT_EQ(text.size() % 8, 4u);
}

TEST(SafetensorsWriter, RefusesDisorder) {
  Scratch scratch;
  const std::vector<SafetensorsWriter::Entry> entries = {{"a", DType::kF32, {2}},
                                                         {"b", DType::kF32, {1}}};
  SafetensorsWriter writer(scratch / "m.safetensors", entries);
  EXPECT_TALPA_ERROR(writer.write("b", bytes_of_floats({1})), kInternal,
                     "expected 8 more bytes of tensor a, got tensor b");
  EXPECT_TALPA_ERROR(writer.write("a", bytes_of_floats({1, 2, 3})), kInternal, "12 more came");
  writer.write("a", bytes_of_floats({1, 2}));
  EXPECT_TALPA_ERROR(writer.finish(), kInternal, "tensor b has 4 bytes, only 0 were written");
  writer.write("b", bytes_of_floats({3}));
  EXPECT_TALPA_ERROR(writer.write("c", bytes_of_floats({3})), kInternal, "after the last");
}

TEST(SafetensorsWriter, RefusesWhatTheFormatCannotHold) {
  Scratch scratch;
  using Entries = std::vector<SafetensorsWriter::Entry>;
  const struct {
    Entries entries;
    ErrorCode code;
    const char* part;
  } rows[] = {
      {{{"q", DType::kQ8_0, {32}}},
       ErrorCode::kUnsupported,
       "tensor q: safetensors cannot hold q8_0"},
      {{{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}},
       ErrorCode::kUsage,
       "a is to be written twice"},
      {{{"__metadata__", DType::kF32, {1}}}, ErrorCode::kUsage, "cannot be a tensor's name"},
      {{{"\xff", DType::kF32, {1}}}, ErrorCode::kUsage, "not UTF-8"},
      {{{"a", DType::kF32, {-1}}}, ErrorCode::kFormat, "negative size"},
      {{{"a", DType::kF32, {1ll << 40, 1ll << 40}}}, ErrorCode::kFormat, "63 bits"},
  };
  for (const auto& row : rows) {
    try {
      SafetensorsWriter writer(scratch / "m.safetensors", row.entries);
      ADD_FAILURE() << row.part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), row.code) << error.what();
      EXPECT_NE(std::string(error.what()).find(row.part), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

}  // namespace
}  // namespace talpa
