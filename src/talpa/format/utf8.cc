#include "talpa/format/utf8.h"

#include <cstdint>

namespace talpa::detail {

namespace {

/// Bytes of the sequence that `lead` begins, and the range its second byte must be in; 0 if none.
struct Sequence {
  int length;
  unsigned char low;
  unsigned char high;
};

Sequence sequence_of(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead >= 0xc2 && lead <= 0xdf) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};
  if (lead >= 0xe1 && lead <= 0xef) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead >= 0xf1 && lead <= 0xf3) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const Sequence sequence = sequence_of(static_cast<unsigned char>(text[i]));
    if (sequence.length == 0 || text.size() - i < static_cast<std::size_t>(sequence.length))
      return false;
    for (int k = 1; k < sequence.length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      const bool fits = k == 1 ? byte >= sequence.low && byte <= sequence.high : byte >> 6 == 2;
      if (!fits) return false;
    }
    i += static_cast<std::size_t>(sequence.length);
  }
  return true;
}

}  // namespace talpa::detail
