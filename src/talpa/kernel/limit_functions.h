#pragma once

#include <cstddef>
#include <cstdint>

namespace talpa::kernel {

/// Arithmetic on registers alone, in chains enough to hide its latency. Nothing but plain structs
/// here: this header is compiled for several instruction sets.
struct ArithmeticLoop {
  const char* name = nullptr;   ///< the instructions
  std::int64_t operations = 0;  ///< of one round; a multiply-add counts two
  /// Runs `rounds` rounds, at least one. The result means nothing; it keeps the work from being
  /// left out.
  float (*run)(std::int64_t rounds) = nullptr;
};

/// What the limits of a machine are measured with, per instruction set; null where a set has none
/// of its own.
struct LimitFunctions {
  const char* name = nullptr;
  /// Sum of the 64-bit words at `data`, `bytes` a multiple of kReadStep. May prefetch beyond.
  std::uint64_t (*read)(const std::byte* data, std::int64_t bytes) = nullptr;
  ArithmeticLoop fp32, int8, bf16;
};

constexpr std::int64_t kReadStep = 512;
/// How far ahead of itself a reader asks for memory.
constexpr std::int64_t kReadAhead = 4096;

LimitFunctions limit_functions_avx2();
/// int8 needs AVX-512 VNNI.
LimitFunctions limit_functions_avx512();
LimitFunctions limit_functions_avx512_bf16();
LimitFunctions limit_functions_amx();
LimitFunctions limit_functions_reference();

}  // namespace talpa::kernel
