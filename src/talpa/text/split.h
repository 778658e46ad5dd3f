#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/text/regex.h"

namespace talpa::text {

/// What becomes of the matches when text is cut at them.
enum class SplitBehavior {
  kRemoved,             ///< left out
  kIsolated,            ///< pieces of their own
  kMergedWithPrevious,  ///< end of the piece before
  kMergedWithNext,      ///< beginning of the piece behind
  kContiguous,          ///< neighbouring matches are one piece
};

/// Throws kUnsupported naming `where` for a name that is none.
SplitBehavior split_behavior(const std::string& name, const std::string& where);

/// A part of a text, and whether it is a match.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool match = false;
};

/// The matches of `regex` and the gaps between them, in order.
std::vector<Span> match_spans(const Regex& regex, std::string_view text);
/// Every character for which `matches` holds, and the gaps between them.
std::vector<Span> match_spans(bool (*matches)(char32_t), std::string_view text);
std::vector<Span> match_spans(char32_t character, std::string_view text);

/// The pieces that remain of `spans` under `behavior`, empty ones left out.
std::vector<Span> split(std::vector<Span> spans, SplitBehavior behavior, bool invert = false);

}  // namespace talpa::text
