#include "talpa/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "scratch.h"

namespace talpa {
namespace {

namespace fs = std::filesystem;
using testing::Scratch;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(MappedFile, ReleasedPagesComeBackFromTheFile) {
  const Scratch scratch;
  std::string text(100000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  write_text(scratch / "text", text);
  const MappedFile file(scratch / "text");
  auto as_text = [&] {
    return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  };
  EXPECT_EQ(as_text(), text);
  auto resident = [&](std::size_t offset) {  // in this process' tables, not in the page cache
    const int pages = ::open("/proc/self/pagemap", O_RDONLY);
    const auto address = reinterpret_cast<std::uintptr_t>(file.bytes().data() + offset);
    std::uint64_t entry = 0;
    EXPECT_EQ(::pread(pages, &entry, 8, static_cast<off_t>(address / 4096 * 8)), 8);
    ::close(pages);
    return (entry >> 63) == 1;
  };
  EXPECT_TRUE(resident(8192));
  file.release(file.bytes().subspan(5000, 20000));
  EXPECT_FALSE(resident(8192));
  EXPECT_TRUE(resident(5000)) << "a page that is released only in part stays";
  EXPECT_EQ(as_text(), text);
  std::vector<std::byte> elsewhere(1 << 16, std::byte{7});
  file.release(elsewhere);
  EXPECT_EQ(elsewhere[40000], std::byte{7});
  file.release(file.bytes());
  file.release({});
  EXPECT_EQ(as_text(), text);
}

TEST(AtomicFile, AppearsOnlyAtCommit) {
  const Scratch scratch;
  {
    AtomicFile file(scratch / "out");
    file.write("hello ");
    file.write("world");
    EXPECT_EQ(file.size(), 11u);
    EXPECT_FALSE(fs::exists(scratch / "out"));
    file.commit();
  }
  EXPECT_EQ(read_text(scratch / "out"), "hello world");
  EXPECT_EQ(entries(scratch.path()), 1u);
}

TEST(AtomicFile, KeepsTheOldFileOnFailure) {
  const Scratch scratch;
  write_text(scratch / "out", "old");
  try {
    AtomicFile file(scratch / "out");
    file.write("half of the n");
    throw std::runtime_error("the disk is on fire");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(read_text(scratch / "out"), "old");
  EXPECT_EQ(entries(scratch.path()), 1u) << "a temporary was left behind";
}

TEST(AtomicFile, NamesThePathItCannotWrite) {
  EXPECT_TALPA_ERROR(AtomicFile("/nonexistent/folder/out"), kNotFound, "/nonexistent/folder/out");
}

TEST(MappedFile, ShowsBytesAndOutlivesTheHandle) {
  const Scratch scratch;
  write_text(scratch / "data", std::string("a\0b", 3));
  auto first = std::make_unique<MappedFile>(scratch / "data");
  const MappedFile copy = *first;
  first.reset();
  ASSERT_EQ(copy.bytes().size(), 3u);
  EXPECT_EQ(copy.bytes()[2], std::byte{'b'});
}

TEST(MappedFile, TakesAnEmptyFile) {
  const Scratch scratch;
  write_text(scratch / "empty", "");
  EXPECT_TRUE(MappedFile(scratch / "empty").bytes().empty());
}

TEST(MappedFile, NamesWhatIsMissing) {
  const Scratch scratch;
  EXPECT_TALPA_ERROR(MappedFile(scratch / "none"), kNotFound, "none");
  EXPECT_TALPA_ERROR(MappedFile(scratch.path()), kIo, scratch.path().string());
}

TEST(ReadText, IsBounded) {
  const Scratch scratch;
  write_text(scratch / "big", std::string(100, 'x'));
  EXPECT_EQ(read_text(scratch / "big", 100).size(), 100u);
  EXPECT_TALPA_ERROR(read_text(scratch / "big", 99), kFormat, "big");
}

TEST(DirectoryLock, KeepsOthersOutUntilItGoes) {
  const Scratch scratch;
  {
    const DirectoryLock lock(scratch.path());
    EXPECT_TALPA_ERROR(DirectoryLock(scratch.path()), kUsage, "another process is at work");
  }
  EXPECT_NO_THROW(DirectoryLock(scratch.path()));
  EXPECT_TALPA_ERROR(DirectoryLock(scratch / "none"), kNotFound, "none");
}

TEST(AtomicDirectory, SwapsInAtCommit) {
  const Scratch scratch;
  {
    AtomicDirectory directory(scratch / "model", false);
    write_text(directory.path() / "a", "1");
    EXPECT_FALSE(fs::exists(scratch / "model"));
    directory.commit();
  }
  EXPECT_EQ(read_text(scratch / "model" / "a"), "1");
  EXPECT_EQ(entries(scratch.path()), 1u);
}

TEST(AtomicDirectory, ReplacesOnlyIfAsked) {
  const Scratch scratch;
  fs::create_directory(scratch / "model");
  write_text(scratch / "model" / "old", "1");
  EXPECT_TALPA_ERROR(AtomicDirectory(scratch / "model", false), kUsage, "exists already");
  {
    AtomicDirectory abandoned(scratch / "model", true);
    write_text(abandoned.path() / "new", "2");
  }
  EXPECT_TRUE(fs::exists(scratch / "model" / "old"));
  AtomicDirectory directory(scratch / "model", true);
  write_text(directory.path() / "new", "2");
  directory.commit();
  EXPECT_FALSE(fs::exists(scratch / "model" / "old"));
  EXPECT_EQ(read_text(scratch / "model" / "new"), "2");
  EXPECT_EQ(entries(scratch.path()), 1u);
}

}  // namespace
}  // namespace talpa
