#include "talpa/base/output_path.h"

#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa {
namespace {

namespace fs = std::filesystem;

TEST(OutputPath, NeverReplacesWhatIsRead) {
  const testing::Scratch scratch;
  const fs::path model = scratch / "models" / "moe";
  fs::create_directories(model);
  write_text(model / "config.json", "{}");
  fs::create_directory_symlink(model, scratch / "link");
  fs::create_hard_link(model / "config.json", scratch / "same.json");
  const fs::path folder = scratch / "models";
  for (const fs::path& output :
       {model, model / "", folder / "." / "moe", folder / "x" / ".." / "moe", folder,
        scratch.path(), scratch / "link"})
    EXPECT_TALPA_ERROR(check_not_input(output, model), kUsage, "which is read");
  EXPECT_TALPA_ERROR(check_not_input(scratch / "same.json", model / "config.json"), kUsage,
                     "same.json");
  for (const fs::path& output : {scratch / "mo", folder / "moe2", model / "moe.gguf"})
    EXPECT_NO_THROW(check_not_input(output, model)) << output;
  EXPECT_NO_THROW(check_not_input(model, ""));
}

}  // namespace
}  // namespace talpa
