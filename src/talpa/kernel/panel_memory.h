#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace talpa::kernel {

/// Memory for panels, from large blocks that the system may put on huge pages: small matrices
/// follow one another in a block, and no page but the last of a block is used in part.
class PanelMemory {
 public:
  /// `bytes` bytes, aligned to 64. The block lives as long as any piece of it. Throws
  /// std::bad_alloc.
  std::shared_ptr<std::byte> allocate(std::uint64_t bytes);

  static constexpr std::uint64_t kBlockBytes = std::uint64_t{32} << 20;

 private:
  std::shared_ptr<std::byte> block_;
  std::uint64_t used_ = 0;
};

/// The same for one piece on its own.
std::shared_ptr<std::byte> allocate_panels(std::uint64_t bytes);

}  // namespace talpa::kernel
