#include <gtest/gtest.h>

#include <cstring>

#include "scratch.h"
#include "talpa/format/tensor_store.h"

// Golden values: gguf-py, see scripts/golden/format_blocks.py.
namespace talpa {
namespace {

using testing::golden;

class Blocks : public ::testing::TestWithParam<const char*> {
 protected:
  DType dtype() const { return dtype_named(GetParam()).value(); }
  std::string key(const char* what) const { return std::string(GetParam()) + "." + what; }
  std::shared_ptr<TensorStore> store_ = open_safetensors(golden("format/blocks.safetensors"));
};

class Widening : public Blocks {};

TEST_P(Widening, IsThatOfTheReferenceBitForBit) {
  const TensorView& bytes = store_->at(key("bytes"));
  const std::vector<float> expected = read_floats(store_->at(key("floats")));
  std::vector<float> floats(expected.size());
  ASSERT_EQ(bytes_of(dtype(), floats.size()), bytes.bytes.size());
  to_float(dtype(), bytes.bytes.data(), floats.data(), static_cast<std::int64_t>(floats.size()));
  for (std::size_t i = 0; i < floats.size(); ++i) ASSERT_EQ(floats[i], expected[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(Formats, Widening,
                         ::testing::Values("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k",
                                           "q6_k"));

class Narrowing : public Blocks {};

TEST_P(Narrowing, IsThatOfTheReferenceByteForByte) {
  const std::vector<float> source = read_floats(store_->at("source"));
  const TensorView& expected = store_->at(key("narrowed"));
  std::vector<std::byte> bytes(bytes_of(dtype(), source.size()));
  from_float(dtype(), source.data(), bytes.data(), static_cast<std::int64_t>(source.size()));
  ASSERT_EQ(bytes.size(), expected.bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], expected.bytes[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(Formats, Narrowing,
                         ::testing::Values("f16", "bf16", "q8_0", "q4_0", "q4_1"));

}  // namespace
}  // namespace talpa
