#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace talpa::testing {

/// Counts the bytes of tensors on the CPU from its construction to its end: those alive, and the
/// most at once. Counts do not go down for tensors made before.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(before_, kPriority); }

  std::int64_t live() const { return live_; }
  std::int64_t peak() const { return peak_; }
  void restart_peak() { peak_ = live_.load(); }

  c10::DataPtr allocate(std::size_t size) override {
    auto* block = new Block{before_->allocate(size), this, static_cast<std::int64_t>(size)};
    live_ += block->size;
    peak_ = std::max(peak_.load(), live_.load());
    return {block->memory.get(), block, &release, c10::Device(c10::DeviceType::CPU)};
  }
  void copy_data(void* target, const void* source, std::size_t count) const override {
    default_copy_data(target, source, count);
  }

 private:
  static constexpr std::uint8_t kPriority = 255;
  struct Block {
    c10::DataPtr memory;
    CountingAllocator* owner;
    std::int64_t size;
  };
  static void release(void* block) {
    auto* own = static_cast<Block*>(block);
    own->owner->live_ -= own->size;
    delete own;
  }

  c10::Allocator* before_;
  std::atomic<std::int64_t> live_{0}, peak_{0};
};

}  // namespace talpa::testing
