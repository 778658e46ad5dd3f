#pragma once

#include <cstdint>

namespace talpa {

/// Memory as the system and the control group grant it, bytes; 0 = unknown. What a cache of files
/// holds counts as available.
struct MemoryInfo {
  std::uint64_t total = 0;
  std::uint64_t available = 0;
};
MemoryInfo memory_info();

/// Gives the system back what the allocator holds of memory that is free: much, after many blocks
/// of a few megabytes.
void return_free_memory();

}  // namespace talpa
