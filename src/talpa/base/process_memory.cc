#include "talpa/base/process_memory.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

namespace talpa {

ProcessMemory process_memory() {
  constexpr std::uint64_t kKiB = 1024;
  ProcessMemory memory;
  std::ifstream file("/proc/self/status");
  std::string key, rest;
  while (file >> key) {
    std::uint64_t* const value = key == "RssAnon:"   ? &memory.anonymous
                                 : key == "RssFile:" ? &memory.file
                                                     : nullptr;
    if (value != nullptr && file >> *value) *value *= kKiB;
    std::getline(file, rest);
  }
  return memory;
}

MemoryWatch::MemoryWatch() : start_(process_memory().anonymous), highest_(start_) {
  thread_ = std::thread([this] {
    while (!stop_) {
      look();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}

MemoryWatch::~MemoryWatch() {
  stop_ = true;
  thread_.join();
}

void MemoryWatch::look() const {
  const std::uint64_t now = process_memory().anonymous;
  std::uint64_t highest = highest_;
  while (now > highest && !highest_.compare_exchange_weak(highest, now)) {
  }
}

std::uint64_t MemoryWatch::peak() const {
  look();
  return highest_ - std::min(start_, highest_.load());
}

}  // namespace talpa
