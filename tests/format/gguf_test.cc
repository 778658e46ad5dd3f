#include "talpa/format/gguf.h"

#include <gtest/gtest.h>

#include "format/gguf_bytes.h"
#include "format/memory_file.h"
#include "scratch.h"

namespace talpa {
namespace {

using testing::GgufBytes;
using testing::golden;
using testing::MemoryFile;

class Gguf : public ::testing::Test {
 protected:
  std::shared_ptr<GgufFile> file_ = GgufFile::open(golden("format/types.gguf"));
};

TEST_F(Gguf, ReadsEveryMetadataType) {
  const struct {
    const char* key;
    Json value;
  } rows[] = {
      {"t.u8", 200},
      {"t.i8", -100},
      {"t.u16", 60000},
      {"t.i16", -30000},
      {"t.u32", 4000000000u},
      {"t.i32", -2000000000},
      {"t.u64", (1ull << 63) + 5},
      {"t.i64", -(1ll << 62)},
      {"t.f32", 0.5},
      {"t.f64", 0.1},
      {"t.bool", true},
      {"t.string", "caf\u00e9"},
      {"t.strings", {"a", "", "\u0120the"}},
      {"t.integers", {1, -2, 3}},
      {"t.floats", {0.5, -1.25}},
      {"t.nested", Json::array({Json::array({1, 2}), Json::array({3})})},
      {"general.architecture", "llama"},
      {"general.alignment", 64},
  };
  for (const auto& row : rows) {
    ASSERT_NE(file_->find_metadata(row.key), nullptr) << row.key;
    EXPECT_EQ(*file_->find_metadata(row.key), row.value) << row.key;
  }
  EXPECT_EQ(file_->metadata().size(), std::size(rows));
  EXPECT_EQ(file_->find_metadata("absent"), nullptr);
}

TEST_F(Gguf, MetadataAreTyped) {
  EXPECT_EQ(file_->metadata_as<int>("t.u8"), 200);
  EXPECT_EQ(file_->metadata_as<std::uint64_t>("t.u64"), (1ull << 63) + 5);
  EXPECT_EQ(file_->metadata_as<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file_->metadata_as<float>("t.f32"), 0.5f);
  EXPECT_EQ(file_->metadata_as<double>("t.u8"), 200.0);
  EXPECT_TRUE(file_->metadata_as<bool>("t.bool"));
  EXPECT_EQ(file_->metadata_as<std::vector<std::string>>("t.strings").at(2), "\u0120the");
  EXPECT_EQ(file_->metadata_as<std::vector<int>>("t.integers"), (std::vector<int>{1, -2, 3}));
  EXPECT_EQ(file_->metadata_as<std::vector<float>>("t.floats"), (std::vector<float>{.5f, -1.25f}));
  EXPECT_TALPA_ERROR(file_->metadata_as<int>("absent"), kFormat, "metadata absent is missing");
  EXPECT_TALPA_ERROR(file_->metadata_as<int>("t.u32"), kFormat,
                     "t.u32: expected an integer that fits, got 4000000000");
  EXPECT_TALPA_ERROR(file_->metadata_as<unsigned>("t.i8"), kFormat,
                     "expected an integer that fits");
  EXPECT_TALPA_ERROR(file_->metadata_as<std::string>("t.u8"), kFormat,
                     "expected a string, got 200");
  EXPECT_TALPA_ERROR(file_->metadata_as<bool>("t.u8"), kFormat, "expected true or false, got 200");
  EXPECT_TALPA_ERROR(file_->metadata_as<float>("t.string"), kFormat, "expected a number, got");
  EXPECT_TALPA_ERROR(file_->metadata_as<std::vector<int>>("t.strings"), kFormat,
                     "expected an array of the right type, got an array");
}

TEST_F(Gguf, ReadsTensorsAsThePythonPackageDoes) {
  const auto expected = open_safetensors(golden("format/types.safetensors"));
  ASSERT_EQ(file_->tensors().size(), expected->tensors().size());
  for (const auto& [name, view] : expected->tensors()) {
    const TensorView& ours = file_->at(name);
    EXPECT_EQ(ours.shape, view.shape) << name;
    EXPECT_EQ(read_floats(ours), read_floats(view)) << name;
    const std::string type = name.starts_with("blk.") ? name.substr(4) : "f32";
    EXPECT_EQ(ours.dtype, dtype_named(type)) << name;
  }
  EXPECT_EQ(file_->at("experts").shape, (Shape{2, 3, 4}));
}

TEST_F(Gguf, IsRecognisedByItsMagicNumber) {
  EXPECT_TRUE(is_gguf(file_->path()));
  EXPECT_FALSE(is_gguf(golden("format/plain.safetensors")));
  EXPECT_FALSE(is_gguf(golden("format")));
  EXPECT_FALSE(is_gguf(golden("format/absent")));
  EXPECT_FALSE(is_gguf(MemoryFile("GGU").path()));
  EXPECT_TALPA_ERROR(GgufFile::open(golden("format/absent")), kNotFound, "absent");
}

TEST(GgufVersions, TwoIsRead) {
  const MemoryFile file(GgufBytes().header(1, 0, 2).tensor("w", 3, 2, 0, 0).with_data(24));
  const auto read = GgufFile::open(file.path());
  EXPECT_EQ(read->at("w").shape, (Shape{2, 3}));
  EXPECT_EQ(read_floats(read->at("w")), std::vector<float>(6));
}

TEST(GgufVersions, EmptyFilesNeedNoData) {
  const MemoryFile file(GgufBytes().header(0, 1).text("k").u32(7).number<char>(1).with_data(0, 1));
  EXPECT_EQ(GgufFile::open(file.path())->metadata_as<bool>("k"), true);
}

TEST(GgufVersions, UnsortedOffsetsAndEmptyTensorsAreRead) {
  const MemoryFile file(GgufBytes()
                            .header(3, 0)
                            .tensor("b", 4, 1, 0, 32)
                            .tensor("a", 8, 1, 0, 0)
                            .tensor("none", 0, 7, 0, 64)
                            .with_data(64));
  const auto read = GgufFile::open(file.path());
  EXPECT_EQ(read->at("b").bytes.data() - read->at("a").bytes.data(), 32);
  EXPECT_TRUE(read->at("none").bytes.empty());
  EXPECT_EQ(read->total_bytes(), 48u);
}

TEST(GgufReal, SmolLm2) {
  const auto path =
      std::filesystem::path(TALPA_SOURCE_DIR) / ".assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto file = GgufFile::open(path);
  EXPECT_EQ(file->metadata_as<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file->metadata_as<std::vector<std::string>>("tokenizer.ggml.tokens").size(), 49152u);
  EXPECT_EQ(file->tensors().size(), 272u);
  std::int64_t count = 0;
  for (const auto& [name, view] : file->tensors()) count += num_elements(view.shape);
  EXPECT_EQ(count, 134515008);
  EXPECT_EQ(file->at("blk.0.ffn_down.weight").shape, (Shape{576, 1536}));
}

}  // namespace
}  // namespace talpa
