#include <cstring>

#include "talpa/kernel/limit_functions.h"

namespace talpa::kernel {
namespace {

constexpr int kLimitLanes = 64;

float plain_fp32(std::int64_t rounds) {
  float sum[kLimitLanes];
  for (int i = 0; i < kLimitLanes; ++i) sum[i] = static_cast<float>(i);
  for (std::int64_t r = 0; r < rounds; ++r)
    for (float& value : sum) value = value * 0.999f + 0.001f;
  float total = 0;
  for (const float value : sum) total += value;
  return total;
}

float plain_int8(std::int64_t rounds) {
  constexpr int kLength = 1024;
  static_assert(kLength % kLimitLanes == 0);
  std::int8_t x[kLength], weight[kLength];
  for (int i = 0; i < kLength; ++i) {
    x[i] = static_cast<std::int8_t>(i % 127);
    weight[i] = static_cast<std::int8_t>(i % 63);
  }
  std::uint32_t sum = 0;
  for (std::int64_t r = 0; r < rounds; ++r) {
    x[r % kLength] ^= 1;
    for (int i = 0; i < kLength; ++i) sum += static_cast<std::uint32_t>(x[i] * weight[i]);
  }
  return static_cast<float>(sum);
}

std::uint64_t plain_read(const std::byte* data, std::int64_t bytes) {
  constexpr int kWords = 8;
  std::uint64_t sum[kWords] = {};
  for (std::int64_t i = 0; i < bytes; i += kWords * 8)
    for (int w = 0; w < kWords; ++w) {
      std::uint64_t word;
      std::memcpy(&word, data + i + w * 8, sizeof word);
      sum[w] += word;
    }
  std::uint64_t total = 0;
  for (const std::uint64_t word : sum) total += word;
  return total;
}

}  // namespace

LimitFunctions limit_functions_reference() {
  return {.name = "reference",
          .read = plain_read,
          .fp32 = {"plain C++", 2 * kLimitLanes, plain_fp32},
          .int8 = {"plain C++", 2 * 1024, plain_int8},
          .bf16 = {}};
}

}  // namespace talpa::kernel
