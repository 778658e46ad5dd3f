#include "talpa/kernel/panel_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace talpa::kernel {

std::shared_ptr<std::byte> allocate_panels(std::uint64_t bytes) {
  constexpr std::uint64_t kLine = 64, kPage = 4096, kHugePage = 2u << 20;
  const bool large = bytes >= kHugePage;
  // Whole small pages at the end: a whole huge one would be filled for a few bytes.
  const std::uint64_t unit = large ? kPage : kLine;
  const std::uint64_t size = bytes == 0 ? unit : (bytes + unit - 1) / unit * unit;
  if (size < bytes) throw std::bad_alloc();
  void* data = nullptr;
  if (::posix_memalign(&data, large ? kHugePage : kLine, size) != 0) throw std::bad_alloc();
  if (large) ::madvise(data, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(data), [](std::byte* p) { std::free(p); }};
}

std::shared_ptr<std::byte> PanelMemory::allocate(std::uint64_t bytes) {
  constexpr std::uint64_t kLine = 64;
  if (bytes > kBlockBytes / 2) return allocate_panels(bytes);
  const std::uint64_t size = (bytes + kLine - 1) / kLine * kLine;
  if (block_ == nullptr || kBlockBytes - used_ < size) {
    block_ = allocate_panels(kBlockBytes);
    used_ = 0;
  }
  std::byte* const piece = block_.get() + used_;
  used_ += size;
  return {block_, piece};
}

}  // namespace talpa::kernel
