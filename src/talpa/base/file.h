#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace talpa {

/// A file mapped read-only. Copyable handle; the mapping ends with the last copy.
class MappedFile {
 public:
  /// Throws kNotFound or kIo, naming the path.
  explicit MappedFile(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

  /// Gives back the whole pages of `part` that this process holds, if it lies in this file: they
  /// no longer count as its memory, and come back from the file when they are read again.
  void release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
};

/// Whole file as text; throws kNotFound, kIo, or kFormat when it exceeds `max_bytes`.
std::string read_text(const std::filesystem::path& path, std::uint64_t max_bytes = 1u << 30);

/// A file written beside its final place and renamed by commit(). Without commit() the
/// destructor removes the temporary and leaves what was there untouched.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends; throws kIo (for example when the disk is full).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  std::uint64_t size() const { return size_; }
  /// Flushes to disk and renames; throws kIo.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// Writes `text` to `path` through AtomicFile.
void write_text(const std::filesystem::path& path, std::string_view text);

/// A directory built beside its final place; commit() swaps it in. An existing target is
/// replaced only if `overwrite`; otherwise the constructor throws kUsage.
class AtomicDirectory {
 public:
  AtomicDirectory(const std::filesystem::path& path, bool overwrite);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// Where to write until commit().
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

/// Keeps other processes that ask for the same directory's lock out, until it is destroyed or the
/// process ends, however that ends.
class DirectoryLock {
 public:
  /// Throws kUsage, naming the directory, when another process holds it; kIo.
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace talpa
