#include "talpa/base/process_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstring>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa::testing {
namespace {

constexpr std::size_t kBytes = std::size_t{64} << 20;
/// The system counts in batches of pages for each processor.
constexpr std::size_t kSlack = std::size_t{4} << 20;

TEST(ProcessMemoryTest, TellsOwnMemoryFromMappedFiles) {
  const Scratch scratch;
  write_text(scratch / "file", std::string(kBytes, 'x'));
  const ProcessMemory before = process_memory();
  if (before.anonymous == 0) GTEST_SKIP() << "this system does not say";
  const MappedFile file(scratch / "file");
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kBytes; i += 4096)
    sum += std::to_integer<std::size_t>(file.bytes()[i]);
  EXPECT_EQ(sum, kBytes / 4096 * 'x');
  const ProcessMemory mapped = process_memory();
  EXPECT_GT(mapped.file + kSlack, before.file + kBytes);
  EXPECT_LT(mapped.anonymous, before.anonymous + kSlack);
  file.release(file.bytes());
  EXPECT_LT(process_memory().file, before.file + kSlack);
}

TEST(MemoryWatchTest, SeesWhatIsGoneAgain) {
  if (process_memory().anonymous == 0) GTEST_SKIP() << "this system does not say";
  const MemoryWatch watch;
  EXPECT_LT(watch.peak(), kSlack);
  void* const data =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(data, MAP_FAILED);
  std::memset(data, 1, kBytes);
  EXPECT_GT(watch.peak() + kSlack, kBytes);
  ::munmap(data, kBytes);
  EXPECT_GT(watch.peak() + kSlack, kBytes);
  EXPECT_LT(watch.peak(), kBytes + kSlack);
}

}  // namespace
}  // namespace talpa::testing
