#include "talpa/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "talpa/base/error.h"

namespace talpa {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_io(const char* action, const fs::path& path) {
  const int error = errno;
  const ErrorCode code = error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  fail(code, "cannot {} {}: {}", action, path.string(), std::strerror(error));
}

fs::path beside(const fs::path& path) {
  fs::path clean = path.lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  return clean.parent_path() / fmt::format(".{}.partial-{}", clean.filename().string(), getpid());
}

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

std::uint64_t size_of_regular(int descriptor, const fs::path& path) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) fail_io("read", path);
  if (!S_ISREG(info.st_mode)) fail(ErrorCode::kIo, "{} is not a regular file", path.string());
  return static_cast<std::uint64_t>(info.st_size);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) fail_io("open", path);
  const std::uint64_t size = size_of_regular(file.value, path);
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (address == MAP_FAILED) fail_io("map", path);
  mapping_ = std::shared_ptr<const void>(
      address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  bytes_ = {static_cast<const std::byte*>(address), size};
}

void MappedFile::release(std::span<const std::byte> part) const {
  const std::less_equal<> not_after;
  if (part.empty() || !not_after(bytes_.data(), part.data()) ||
      !not_after(part.data() + part.size(), bytes_.data() + bytes_.size()))
    return;
  // The mapping begins with a page.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::uint64_t>(part.data() - bytes_.data());
  const std::uint64_t first = (offset + page - 1) / page * page;
  const std::uint64_t last = (offset + part.size()) / page * page;
  if (first >= last) return;
  // A failure costs memory only.
  ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

std::string read_text(const fs::path& path, std::uint64_t max_bytes) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) fail_io("open", path);
  const std::uint64_t size = size_of_regular(file.value, path);
  if (size > max_bytes)
    fail(ErrorCode::kFormat, "{} has {} bytes, more than the {} allowed here", path.string(), size,
         max_bytes);
  std::string text(size, '\0');
  std::uint64_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(file.value, text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("read", path);
    if (n == 0) fail(ErrorCode::kIo, "{} shrank while it was read", path.string());
    done += static_cast<std::uint64_t>(n);
  }
  return text;
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path), temporary_(beside(path)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_io("write", path);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("write", path_);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    size_ += static_cast<std::uint64_t>(n);
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_io("write", path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_io("write", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    errno = error;
    fail_io("write", path_);
  }
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

AtomicDirectory::AtomicDirectory(const fs::path& path, bool overwrite)
    : path_(path.lexically_normal()), temporary_(beside(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path();
  if (!overwrite && fs::exists(path_) && !(fs::is_directory(path_) && fs::is_empty(path_)))
    fail(ErrorCode::kUsage, "{} exists already; use --force to replace it", path_.string());
  std::error_code error;
  fs::remove_all(temporary_, error);
  if (!fs::create_directories(temporary_, error) || error)
    fail(ErrorCode::kIo, "cannot create {}: {}", path_.string(), error.message());
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  std::error_code error;
  const fs::path old = temporary_.string() + ".old";
  const bool replaces = fs::exists(path_);
  if (replaces) fs::rename(path_, old, error);
  if (!error) fs::rename(temporary_, path_, error);
  if (error) fail(ErrorCode::kIo, "cannot write {}: {}", path_.string(), error.message());
  committed_ = true;
  if (replaces) fs::remove_all(old, error);
}

DirectoryLock::DirectoryLock(const fs::path& directory)
    : descriptor_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) fail_io("open", directory);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  ::close(descriptor_);
  if (error == EWOULDBLOCK)
    fail(ErrorCode::kUsage, "another process is at work in {}", directory.string());
  errno = error;
  fail_io("lock", directory);
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

}  // namespace talpa
