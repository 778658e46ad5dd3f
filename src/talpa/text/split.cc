#include "talpa/text/split.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

SplitBehavior split_behavior(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(ErrorCode::kUnsupported, "{}: split behavior \"{}\" is not supported", where, name);
}

std::vector<Span> match_spans(const Regex& regex, std::string_view text) {
  std::vector<Span> spans;
  std::size_t done = 0;
  regex.find_all(text, [&](std::size_t begin, std::size_t end) {
    if (done < begin) spans.push_back({done, begin, false});
    spans.push_back({begin, end, true});
    done = end;
  });
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

namespace {

template <class Matches>
std::vector<Span> spans_of_characters(const Matches& matches, std::string_view text) {
  std::vector<Span> spans;
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const std::size_t end = i + static_cast<std::size_t>(c.size);
    if (matches(c.code)) {
      if (done < i) spans.push_back({done, i, false});
      spans.push_back({i, end, true});
      done = end;
    }
    i = end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

std::vector<Span> merge_equal(const std::vector<Span>& spans) {
  std::vector<Span> pieces;
  bool previous = false;
  for (const Span& span : spans) {
    if (span.match == previous && !pieces.empty()) {
      pieces.back().end = span.end;
    } else {
      pieces.push_back(span);
    }
    previous = span.match;
  }
  return pieces;
}

/// Joins a match that follows no match to the piece before it.
std::vector<Span> merge_with_previous(const std::vector<Span>& spans) {
  std::vector<Span> pieces;
  bool previous = false;
  for (const Span& span : spans) {
    if (span.match && !previous && !pieces.empty()) {
      pieces.back().end = span.end;
    } else {
      pieces.push_back(span);
    }
    previous = span.match;
  }
  return pieces;
}

/// The mirror image: from the right, a match that no match follows joins the piece behind it.
std::vector<Span> merge_with_next(const std::vector<Span>& spans) {
  std::vector<Span> pieces;
  bool previous = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->match && !previous && !pieces.empty()) {
      pieces.back().begin = span->begin;
    } else {
      pieces.push_back(*span);
    }
    previous = span->match;
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

}  // namespace

std::vector<Span> match_spans(bool (*matches)(char32_t), std::string_view text) {
  return spans_of_characters(matches, text);
}

std::vector<Span> match_spans(char32_t character, std::string_view text) {
  return spans_of_characters([&](char32_t c) { return c == character; }, text);
}

std::vector<Span> split(std::vector<Span> spans, SplitBehavior behavior, bool invert) {
  if (invert)
    for (Span& span : spans) span.match = !span.match;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(spans, [](const Span& span) { return span.match; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      spans = merge_with_previous(spans);
      break;
    case SplitBehavior::kMergedWithNext:
      spans = merge_with_next(spans);
      break;
    case SplitBehavior::kContiguous:
      spans = merge_equal(spans);
      break;
  }
  std::erase_if(spans, [](const Span& span) { return span.begin == span.end; });
  return spans;
}

}  // namespace talpa::text
