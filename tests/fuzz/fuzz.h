#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "talpa/base/error.h"

namespace talpa::fuzz {

/// Runs `body` on the input. Any Error but kInternal is a refusal, as it should be; whatever
/// else is thrown is a finding.
template <class Body>
int run(const std::uint8_t* data, std::size_t size, Body body) {
  try {
    body(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInternal) return 0;
    std::fprintf(stderr, "internal error: %s\n", error.what());
    __builtin_trap();
  }
  return 0;
}

/// A property that must hold of every accepted input.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  __builtin_trap();
}

}  // namespace talpa::fuzz
