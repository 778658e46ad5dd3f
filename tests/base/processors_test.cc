#include "talpa/base/processors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "scratch.h"

namespace talpa::testing {
namespace {

/// A system's /sys and /proc, made up.
class ProcessorsTest : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const auto file = scratch_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void siblings(int processor, const std::string& list,
                const std::string& name = "thread_siblings_list") {
    write("sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/" + name,
          list + "\n");
  }
  Processors describe(std::vector<int> allowed) const {
    return describe_processors(std::move(allowed), scratch_.path());
  }

  Scratch scratch_;
};

TEST_F(ProcessorsTest, WithoutTopologyEveryProcessorIsACore) {
  const Processors p = describe({3, 1, 2});
  EXPECT_EQ(p.allowed, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(p.cores, 3);
  EXPECT_TRUE(std::isinf(p.quota));
  EXPECT_EQ(p.advised_threads(), 3);
}

TEST_F(ProcessorsTest, PhysicalCoresComeFirst) {
  for (int i = 0; i < 4; ++i) siblings(i, i < 2 ? "0-1" : "2-3");
  EXPECT_EQ(describe({0, 1, 2, 3}).allowed, (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(describe({0, 1, 2, 3}).advised_threads(), 2);

  for (int i = 4; i < 12; ++i)
    siblings(i, std::to_string(4 + i % 4) + "," + std::to_string(8 + i % 4), "core_cpus_list");
  const Processors p = describe({4, 5, 6, 7, 8, 9, 10, 11});
  EXPECT_EQ(p.allowed, (std::vector<int>{4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(p.cores, 4);
}

TEST_F(ProcessorsTest, OnlyAllowedProcessorsCount) {
  for (int i = 0; i < 8; ++i) siblings(i, std::to_string(i % 4) + "," + std::to_string(i % 4 + 4));
  const Processors one = describe({1, 5});
  EXPECT_EQ(one.cores, 1);
  EXPECT_EQ(one.allowed, (std::vector<int>{1, 5}));
  EXPECT_EQ(describe({2, 5, 7}).cores, 3);
}

TEST_F(ProcessorsTest, QuotaOfVersionTwo) {
  write("proc/self/cgroup", "0::/user.slice/job\n");
  write("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(describe({0, 1, 2, 3}).quota));
  write("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
  EXPECT_DOUBLE_EQ(describe({0, 1, 2, 3}).quota, 2.5);
  EXPECT_EQ(describe({0, 1, 2, 3}).advised_threads(), 3);
  write("sys/fs/cgroup/user.slice/job/cpu.max", "10000 100000\n");
  EXPECT_EQ(describe({0, 1, 2, 3}).advised_threads(), 1);
}

/// A container's own group is the top of what it sees.
TEST_F(ProcessorsTest, QuotaOfAContainer) {
  write("proc/self/cgroup", "0::/../outside\n");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(describe({0, 1, 2, 3}).advised_threads(), 2);
}

TEST_F(ProcessorsTest, QuotaOfVersionOne) {
  write("proc/self/cgroup", "4:memory:/m\n3:cpu,cpuacct:/docker/abc\n0::/\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(describe({0, 1}).quota));
  write("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "150000\n");
  write("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(describe({0, 1, 2, 3}).quota, 1.5);
}

TEST_F(ProcessorsTest, NonsenseDoesNotLimit) {
  write("proc/self/cgroup", "\n:\n0:\n0::\nx:cpu:../../..\n");
  write("sys/fs/cgroup/cpu.max", "many 100000\n");
  siblings(0, "x");
  siblings(1, "-1");
  const Processors p = describe({0, 1});
  EXPECT_EQ(p.cores, 2);
  EXPECT_EQ(p.advised_threads(), 2);
  EXPECT_EQ(describe({}).advised_threads(), 1);
}

TEST(AvailableProcessors, AreThisProcess) {
  const Processors& p = available_processors();
  EXPECT_FALSE(p.allowed.empty());
  EXPECT_LE(p.cores, static_cast<int>(p.allowed.size()));
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), p.cores);
}

}  // namespace
}  // namespace talpa::testing
