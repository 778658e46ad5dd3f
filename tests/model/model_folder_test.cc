#include "talpa/model/model_folder.h"

#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa {
namespace {

namespace fs = std::filesystem;

TEST(ModelFolder, OnlyAModelIsReplaceable) {
  const testing::Scratch scratch;
  const fs::path folder = scratch / "model";
  EXPECT_NO_THROW(check_replaceable_model(folder));
  fs::create_directories(folder);
  EXPECT_NO_THROW(check_replaceable_model(folder));
  for (const char* name : {"config.json", "model.safetensors", "model-00001-of-00002.safetensors",
                           "model.safetensors.index.json", "tokenizer.json", "conversion.json"})
    write_text(folder / name, "{}");
  EXPECT_NO_THROW(check_replaceable_model(folder));
  write_text(folder / "thesis.txt", "chapter 1");
  EXPECT_TALPA_ERROR(check_replaceable_model(folder), kUsage, "holds thesis.txt");
  fs::remove(folder / "thesis.txt");
  fs::create_directory(folder / "results");
  EXPECT_TALPA_ERROR(check_replaceable_model(folder), kUsage, "holds results");
  EXPECT_TALPA_ERROR(check_replaceable_model(folder / "config.json"), kUsage, "is a file");
}

}  // namespace
}  // namespace talpa
