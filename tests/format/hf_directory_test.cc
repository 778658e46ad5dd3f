#include "talpa/format/hf_directory.h"

#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa {
namespace {

using testing::golden;
using testing::Scratch;

TEST(HfDirectory, ReadsConfigurations) {
  const HfDirectory directory = open_hf_directory(golden("format/sharded"));
  EXPECT_EQ(directory.config.at("model_type"), "llama");
  ASSERT_TRUE(directory.generation_config.has_value());
  EXPECT_EQ(directory.generation_config->at("eos_token_id"), Json({1, 2}));
  EXPECT_TRUE(is_hf_directory(directory.path));
}

TEST(HfDirectory, GenerationConfigMayBeAbsent) {
  Scratch scratch;
  write_text(scratch / "config.json", "{}");
  EXPECT_FALSE(open_hf_directory(scratch.path()).generation_config.has_value());
}

TEST(HfDirectory, SaysWhatIsWrong) {
  Scratch scratch;
  EXPECT_FALSE(is_hf_directory(scratch.path()));
  EXPECT_FALSE(is_hf_directory(scratch / "absent"));
  EXPECT_TALPA_ERROR(open_hf_directory(scratch / "absent"), kNotFound, "absent does not exist");
  EXPECT_TALPA_ERROR(open_hf_directory(scratch.path()), kNotFound, "has no config.json");
  write_text(scratch / "config.json", "[1]");
  EXPECT_FALSE(is_hf_directory(scratch / "config.json"));
  EXPECT_TALPA_ERROR(open_hf_directory(scratch / "config.json"), kNotFound, "is not a directory");
  EXPECT_TALPA_ERROR(open_hf_directory(scratch.path()), kFormat,
                     "expected a JSON object, got array");
  write_text(scratch / "config.json", "{");
  EXPECT_TALPA_ERROR(open_hf_directory(scratch.path()), kFormat, "not JSON at byte");
  write_text(scratch / "config.json", "{}");
  write_text(scratch / "generation_config.json", "3");
  EXPECT_TALPA_ERROR(open_hf_directory(scratch.path()), kFormat,
                     "generation_config.json: expected");
}

}  // namespace
}  // namespace talpa
