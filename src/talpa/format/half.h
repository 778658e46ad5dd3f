#pragma once

#include <bit>
#include <cstdint>

/// Conversions between float and the 16-bit formats, inlined into the loops over rows. They are
/// branch-free so that the compiler vectorises them.
namespace talpa::detail {

[[gnu::always_inline]] inline float widen_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Round to nearest even; a NaN stays a NaN and becomes quiet.
[[gnu::always_inline]] inline std::uint16_t narrow_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t quiet = (bits & 0xffff0000u) | 0x00400000u;
  const std::uint32_t n = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : bits;
  return static_cast<std::uint16_t>((n + 0x7fffu + ((n >> 16) & 1u)) >> 16);
}

/// Exact. The exponent is moved by an integer addition and a multiplication by a power of two,
/// which also makes infinities; subnormals come from subtracting the implicit one.
[[gnu::always_inline]] inline float widen_f16(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  const std::uint32_t sign = word & 0x80000000u;
  const std::uint32_t twice = word + word;
  const float normal = std::bit_cast<float>((twice >> 4) + (0xe0u << 23)) * 0x1.0p-112f;
  const float subnormal = std::bit_cast<float>((twice >> 17) | (126u << 23)) - 0.5f;
  const std::uint32_t magnitude = twice < (1u << 27) ? std::bit_cast<std::uint32_t>(subnormal)
                                                     : std::bit_cast<std::uint32_t>(normal);
  return std::bit_cast<float>(sign | magnitude);
}

/// Round to nearest even, overflow to infinity; a NaN keeps its upper payload and becomes quiet.
[[gnu::always_inline]] inline std::uint16_t narrow_f16(float value) {
  const std::uint32_t word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = word & 0x7fffffffu;
  // Adding a number whose last place is the target's last place rounds the mantissa.
  const float scaled = (std::bit_cast<float>(magnitude) * 0x1.0p+112f) * 0x1.0p-110f;
  const std::uint32_t exponent = (magnitude + magnitude) & 0xff000000u;
  const std::uint32_t bias = exponent < 0x71000000u ? 0x71000000u : exponent;
  const float rounded = std::bit_cast<float>((bias >> 1) + 0x07800000u) + scaled;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(rounded);
  const std::uint32_t number = ((bits >> 13) & 0x7c00u) + (bits & 0x0fffu);
  const std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  return static_cast<std::uint16_t>((word >> 16 & 0x8000u) |
                                    (magnitude > 0x7f800000u ? nan : number));
}

}  // namespace talpa::detail
