#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace talpa::text {

/// A regular expression in the dialect of tokenizer files (Oniguruma, Ruby syntax), run by PCRE2
/// over Unicode. What the two engines read differently is translated (\s, \w, ^, $) or refused
/// with kUnsupported (\b, \h, \R, class intersections, back references, ...).
class Regex {
 public:
  /// Throws kFormat if the pattern is malformed.
  explicit Regex(std::string_view pattern);

  using OnMatch = std::function<void(std::size_t begin, std::size_t end)>;
  /// Calls `on_match` for the matches in valid UTF-8, left to right, not overlapping; matches may
  /// be empty. Throws kUnsupported if matching needs too much work.
  void find_all(std::string_view text, const OnMatch& on_match) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct Code;
  std::string pattern_;
  std::shared_ptr<const Code> code_;
};

/// `text` with every character that means something in a pattern escaped.
std::string escape_regex(std::string_view text);

}  // namespace talpa::text
