#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace talpa {

/// Memory of this process, bytes; 0 where the system does not say.
struct ProcessMemory {
  std::uint64_t anonymous = 0;  ///< that no file backs: what the system cannot take back
  std::uint64_t file = 0;       ///< pages of mapped files, which other processes may share
};
ProcessMemory process_memory();

/// Watches anonymous memory from its construction on, looking every millisecond.
class MemoryWatch {
 public:
  MemoryWatch();
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  /// Most that was in use at once, beyond what was when the watch began.
  std::uint64_t peak() const;

 private:
  std::uint64_t start_ = 0;
  mutable std::atomic<std::uint64_t> highest_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;

  void look() const;
};

}  // namespace talpa
