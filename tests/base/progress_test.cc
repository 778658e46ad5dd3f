#include "talpa/base/progress.h"

#include <gtest/gtest.h>

namespace talpa {
namespace {

TEST(FormatDuration, IsMinutesThenHours) {
  const std::pair<double, const char*> cases[] = {
      {0, "0:00"},     {-3, "0:00"},      {0.6, "0:01"},    {65, "1:05"},
      {3599, "59:59"}, {3600, "1:00:00"}, {7384, "2:03:04"}};
  for (const auto& [seconds, expected] : cases) EXPECT_EQ(format_duration(seconds), expected);
}

TEST(Progress, IsSilentForTheFirstSeconds) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("work", 10);
    for (int i = 0; i <= 10; ++i) progress.update(i, "note");
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, TakesNoTotal) {
  Progress progress("work", 0);
  EXPECT_NO_THROW(progress.update(5));
}

}  // namespace
}  // namespace talpa
