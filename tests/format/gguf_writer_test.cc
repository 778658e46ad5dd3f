#include <gtest/gtest.h>

#include <limits>

#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/format/gguf.h"

namespace talpa {
namespace {

using testing::golden;
using testing::Scratch;
using Metadata = std::vector<std::pair<std::string, Json>>;
using Entries = std::vector<GgufWriter::Entry>;

std::vector<std::byte> narrowed(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(bytes_of(dtype, values.size()));
  from_float(dtype, values.data(), bytes.data(), static_cast<std::int64_t>(values.size()));
  return bytes;
}

TEST(GgufWriter, WritesTheBytesOfThePythonPackage) {
  Scratch scratch;
  const Metadata metadata = {{"general.architecture", "llama"},
                             {"llama.block_count", 2},
                             {"llama.rope.freq_base", 10000.0},
                             {"tokenizer.ggml.add_bos_token", false},
                             {"tokenizer.ggml.tokens", {"<s>", "a", "\u0120b"}},
                             {"tokenizer.ggml.token_type", {3, 1, 1}},
                             {"tokenizer.ggml.scores", {0.0, -1.0, -2.5}}};
  std::vector<float> weights;
  for (int i = 0; i < 64; ++i) weights.push_back(static_cast<float>(i - 20) / 8);
  Entries entries = {{"f32", DType::kF32, {2, 3}}};
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
    entries.push_back({name_of(dtype), dtype, {2, 32}});
  GgufWriter writer(scratch / "w.gguf", metadata, entries);
  const std::vector<float> corner = {weights[0],  weights[1],  weights[2],
                                     weights[32], weights[33], weights[34]};
  writer.write("f32", narrowed(DType::kF32, corner));
  for (std::size_t i = 1; i < entries.size(); ++i)
    writer.write(entries[i].name, narrowed(entries[i].dtype, weights));
  writer.finish();
  EXPECT_TRUE(read_text(scratch / "w.gguf") == read_text(golden("format/written.gguf")));
}

TEST(GgufWriter, MetadataComeBack) {
  Scratch scratch;
  const Metadata metadata = {{"u32", 4294967295u},
                             {"u64", std::numeric_limits<std::uint64_t>::max()},
                             {"i64", -1},
                             {"f32", 0.1f},
                             {"text", "caf\u00e9"},
                             {"none", Json::array()},
                             {"yes", {true, false}},
                             {"mixed", {1, 0.5}},
                             {"large", {1, 3000000000u}},
                             {"larger", {-1, 3000000000u}},
                             {"largest", {1, std::numeric_limits<std::uint64_t>::max()}},
                             {"lists", Json::array({Json::array({1}), Json::array({"a"})})}};
  GgufWriter(scratch / "m.gguf", metadata, {}).finish();
  const auto file = GgufFile::open(scratch / "m.gguf");
  EXPECT_EQ(file->metadata().size(), metadata.size());
  for (const auto& [key, value] : metadata) EXPECT_EQ(*file->find_metadata(key), value) << key;
}

TEST(GgufWriter, AlignmentIsItsOwn) {
  Scratch scratch;
  GgufWriter writer(scratch / "m.gguf", {{"general.alignment", 64}, {"k", 1}},
                    {{"a", DType::kF32, {1}}, {"none", DType::kF32, {0}}, {"b", DType::kF32, {3}}});
  writer.write("a", narrowed(DType::kF32, {1}));
  writer.write("b", narrowed(DType::kF32, {2, 3}));
  writer.write("b", narrowed(DType::kF32, {4}));
  writer.finish();
  const auto file = GgufFile::open(scratch / "m.gguf");
  EXPECT_EQ(file->find_metadata("general.alignment"), nullptr);
  EXPECT_EQ(read_floats(file->at("b")), (std::vector<float>{2, 3, 4}));
  EXPECT_EQ(file->at("b").bytes.data() - file->at("a").bytes.data(), 32);
  EXPECT_EQ(std::filesystem::file_size(scratch / "m.gguf") % 32, 0u);
}

TEST(GgufWriter, RefusesWhatTheFormatCannotHold) {
  Scratch scratch;
  const struct {
    Metadata metadata;
    Entries entries;
    ErrorCode code;
    const char* part;
  } rows[] = {
      {{{"k", nullptr}}, {}, ErrorCode::kUnsupported, "metadata k: GGUF cannot hold null"},
      {{{"k", Json::object()}}, {}, ErrorCode::kUnsupported, "cannot hold object"},
      {{{"k", {1, "a"}}}, {}, ErrorCode::kUnsupported, "metadata k: GGUF cannot hold array"},
      {{{"k", {-1, 1ull << 63}}},
       {},
       ErrorCode::kUnsupported,
       "metadata k: GGUF cannot hold array"},
      {{{"k", "\xff"}}, {}, ErrorCode::kUsage, "metadata k: a string is not UTF-8"},
      {{{"k", 1}, {"k", 1}}, {}, ErrorCode::kUsage, "metadata k is to be written twice"},
      {{}, {{"w", DType::kQ4_K, {256}}}, ErrorCode::kUnsupported, "tensor w: cannot write q4_k"},
      {{}, {{"w", DType::kI32, {2}}}, ErrorCode::kUnsupported, "tensor w: cannot write i32"},
      {{}, {{"w", DType::kQ8_0, {32, 16}}}, ErrorCode::kShape, "tensor w has shape [32, 16]"},
      {{}, {{"w", DType::kF32, {1, 1, 1, 1, 1}}}, ErrorCode::kUnsupported, "up to 4 dimensions"},
      {{},
       {{"w", DType::kF32, {1}}, {"w", DType::kF32, {1}}},
       ErrorCode::kUsage,
       "w is to be written"},
  };
  for (const auto& row : rows) {
    try {
      GgufWriter(scratch / "m.gguf", row.metadata, row.entries);
      ADD_FAILURE() << row.part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), row.code) << error.what();
      EXPECT_NE(std::string(error.what()).find(row.part), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

}  // namespace
}  // namespace talpa
