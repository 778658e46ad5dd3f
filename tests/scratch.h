#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "talpa/base/error.h"

namespace talpa::testing {

/// A directory of one test's own, removed at its end.
class Scratch {
 public:
  Scratch() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string("talpa-") + info->test_suite_name() + "-" + info->name();
    std::replace(name.begin(), name.end(), '/', '_');
    path_ = std::filesystem::temp_directory_path() / (name + "-" + std::to_string(getpid()));
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(TALPA_SOURCE_DIR) / "tests" / "golden" / name;
}
inline std::filesystem::path shared_data(const std::string& name) {
  return std::filesystem::path(TALPA_SHARED_DATA) / name;
}

}  // namespace talpa::testing

/// Expects talpa::Error with this code whose message contains `part`.
#define EXPECT_TALPA_ERROR(statement, expected_code, part)                              \
  try {                                                                                 \
    statement;                                                                          \
    ADD_FAILURE() << "expected an error with \"" << (part) << "\"";                     \
  } catch (const ::talpa::Error& error) {                                               \
    EXPECT_EQ(error.code(), ::talpa::ErrorCode::expected_code) << error.what();         \
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what(); \
  }
