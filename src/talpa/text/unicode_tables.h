#pragma once

#include <span>
#include <string_view>

namespace talpa::text {

/// Characters from `first` to `last`, both included.
struct Range {
  char32_t first;
  char32_t last;
};

/// Classes of characters as Hugging Face's tokenizers has them, ascending.
std::span<const Range> ranges_of_other();
std::span<const Range> ranges_of_punctuation();
std::span<const Range> ranges_of_nonspacing_mark();
std::span<const Range> ranges_of_mark();
std::span<const Range> ranges_of_numeric();

/// Characters that its regular expressions count among a general category ("L", "Nd") and PCRE2
/// does not know yet.
std::span<const Range> newer_ranges(std::string_view property);

}  // namespace talpa::text
