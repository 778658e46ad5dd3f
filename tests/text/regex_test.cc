#include "talpa/text/regex.h"

#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/text/split.h"

namespace talpa::text {
namespace {

std::vector<std::string> pieces(std::string_view text, const std::vector<Span>& spans) {
  std::vector<std::string> out;
  for (const Span& span : spans) out.emplace_back(text.substr(span.begin, span.end - span.begin));
  return out;
}

std::vector<std::string> matches(const std::string& pattern, std::string_view text) {
  std::vector<std::string> out;
  Regex(pattern).find_all(text, [&](std::size_t begin, std::size_t end) {
    out.emplace_back(text.substr(begin, end - begin));
  });
  return out;
}

using Strings = std::vector<std::string>;

TEST(Regex, ReadsOnigurumasDialect) {
  struct Row {
    const char* pattern;
    const char* text;
    Strings expected;
  };
  const Row table[] = {
      {"\\s", "a\u180e \u0085b", {" ", "\u0085"}},
      {"[\\s]", "a\u180e\u3000b", {"\u3000"}},
      {"[^\\S]", "a\u180e\u3000b", {"\u3000"}},
      {"\\w+", "e\u0301_\u203f1 -", {"e\u0301_\u203f1"}},
      {"\\p{N}", "\u0661\u00bdx\U00010d40", {"\u0661", "\u00bd", "\U00010d40"}},
      {"\\P{L}", "a1\U00031350", {"1"}},
      {"^b$", "a\nb\nc", {"b"}},
      {"\\u00e9", "caf\u00e9", {"\u00e9"}},
      {"(?i:'s)", "'S 's '\u017f", {"'S", "'s", "'\u017f"}},
      {"x*", "axxb", {"", "xx", ""}},
  };
  for (const Row& row : table)
    EXPECT_EQ(matches(row.pattern, row.text), row.expected) << row.pattern;
}

TEST(Regex, RefusesWhatItWouldReadDifferently) {
  for (const char* pattern :
       {"\\bx", "\\h", "[a[b]]", "[a&&b]", "(a)\\1(?<n>b)", "\\R", "a{2}+", "\\K", "(?P<x>a)"})
    EXPECT_TALPA_ERROR(Regex{pattern}, kUnsupported, "is not supported");
}

TEST(Regex, NamesAMalformedPattern) {
  for (const char* pattern : {"(a", "[a", "*", "\\p{Nonsense}"})
    EXPECT_TALPA_ERROR(Regex{pattern}, kFormat, pattern);
}

TEST(Regex, GivesUpOnEndlessBacktracking) {
  const Regex regex("(?:a|aa)+$");
  EXPECT_TALPA_ERROR(regex.find_all(std::string(64, 'a') + "c", [](auto, auto) {}), kUnsupported,
                     "regular expression");
}

TEST(Regex, EscapedTextMatchesItself) {
  const std::string text = "a.b*c[d](e){f}\\g^$|?+-#~&/ ";
  EXPECT_EQ(matches(escape_regex(text), "x" + text + "y"), Strings{text});
}

TEST(Split, EveryBehaviour) {
  struct Row {
    SplitBehavior behavior;
    bool invert;
    Strings expected;
  };
  const Row table[] = {
      {SplitBehavior::kRemoved, false, {"the", "final", "countdown"}},
      {SplitBehavior::kIsolated, false, {"the", "-", "final", "-", "-", "countdown"}},
      {SplitBehavior::kMergedWithPrevious, false, {"the-", "final-", "-", "countdown"}},
      {SplitBehavior::kMergedWithNext, false, {"the", "-final", "-", "-countdown"}},
      {SplitBehavior::kContiguous, false, {"the", "-", "final", "--", "countdown"}},
      {SplitBehavior::kRemoved, true, {"-", "-", "-"}},
  };
  const std::string text = "the-final--countdown";
  for (const Row& row : table) {
    EXPECT_EQ(pieces(text, split(match_spans(Regex("-"), text), row.behavior, row.invert)),
              row.expected);
    EXPECT_EQ(pieces(text, split(match_spans(U'-', text), row.behavior, row.invert)), row.expected);
  }
}

}  // namespace
}  // namespace talpa::text
