#pragma once

#include <filesystem>
#include <system_error>
#include <utility>

#include "talpa/base/error.h"

namespace talpa {

/// A new folder of files that are not to stay, beside what is being made: `output` + `suffix`.
class TemporaryFolder {
 public:
  /// Throws kUsage if there is something of that name: it may be at work for somebody else.
  TemporaryFolder(const std::filesystem::path& output, const char* suffix)
      : path_(output.lexically_normal()) {
    if (!path_.has_filename()) path_ = path_.parent_path();
    path_ += suffix;
    if (std::filesystem::exists(path_))
      fail(ErrorCode::kUsage, "{} is in the way: files would lie there meanwhile", path_.string());
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace talpa
