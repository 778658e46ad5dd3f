#include "talpa/text/regex_dialect.h"

#include <cctype>

#include "talpa/base/error.h"
#include "talpa/text/unicode_tables.h"

namespace talpa::text {

namespace {

// PCRE2's \s has U+180E, which is no White_Space; its \w lacks marks and connectors.
constexpr std::string_view kSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{L}\\p{M}\\p{Nd}\\p{Pc}";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (position_ < pattern_.size()) {
      const char c = pattern_[position_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        plain_character(c);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "regular expression \"{}\": {} at byte {} is not supported",
         pattern_, what, position_);
  }

  void copy(std::size_t count) {
    out_ += pattern_.substr(position_, count);
    position_ += count;
  }

  bool at(std::string_view text) const { return pattern_.substr(position_).starts_with(text); }

  void plain_character(char c) {
    if (c == '[') {
      in_class_ = true;
      copy(1);
      if (at("^")) copy(1);
      if (at("]")) refuse("an empty character class");
      return;
    }
    if (c == '(' && at("(?")) {
      group();
      return;
    }
    if (at("}+")) refuse("a repetition followed by '+'");
    copy(1);
  }

  void group() {
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"})
      if (at(known)) {
        copy(known.size());
        return;
      }
    refuse(fmt::format("group \"{}\"", pattern_.substr(position_, 4)));
  }

  void class_character(char c) {
    if (c == ']') in_class_ = false;
    if (c == '[') refuse("a nested character class");
    if (at("&&")) refuse("an intersection of character classes");
    copy(1);
  }

  void put(std::string_view members, bool negated) {
    if (in_class_ && negated) refuse("a negated set inside a character class");
    if (in_class_) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    position_ += 2;
  }

  void escape() {
    if (position_ + 1 >= pattern_.size()) refuse("a trailing backslash");
    const char c = pattern_[position_ + 1];
    if (c == 'S' && in_class_) {
      out_ += "\\S\\x{180e}";
      position_ += 2;
    } else if (c == 's' || c == 'S') {
      put(kSpace, c == 'S');
    } else if (c == 'w' || c == 'W') {
      std::string members(kWord);
      for (const char* name : {"L", "M", "Nd", "Pc"}) members += newer(name);
      put(members, c == 'W');
    } else if (c == 'u') {
      unicode_escape();
    } else if (c == 'p' || c == 'P') {
      property(c == 'P');
    } else if (std::isalnum(static_cast<unsigned char>(c)) &&
               std::string_view("dDnrtfxAz").find(c) == std::string_view::npos) {
      refuse(fmt::format("escape \"\\{}\"", c));
    } else {
      copy(2);
    }
  }

  /// \p{L} with the characters that PCRE2's Unicode does not have yet.
  void property(bool negated) {
    const auto close = pattern_.find('}', position_);
    if (close == std::string_view::npos || pattern_.substr(position_ + 2, 1) != "{")
      refuse("a property without braces");
    std::string_view name = pattern_.substr(position_ + 3, close - position_ - 3);
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      negated = !negated;
    }
    const std::string members = fmt::format("\\p{{{}}}{}", name, newer(name));
    if (in_class_ && negated && !newer(name).empty())
      refuse("a negated property inside a character class");
    if (in_class_) {
      out_ += negated ? fmt::format("\\P{{{}}}", name) : members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    position_ = close + 1;
  }

  static std::string newer(std::string_view name) {
    std::string out;
    for (const Range& range : newer_ranges(name))
      out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<unsigned>(range.first),
                         static_cast<unsigned>(range.last));
    return out;
  }

  void unicode_escape() {
    const std::string_view digits = pattern_.substr(position_ + 2, 4);
    if (digits.size() != 4) refuse("an incomplete \\u escape");
    out_ += fmt::format("\\x{{{}}}", digits);
    position_ += 6;
  }

  std::string_view pattern_;
  std::size_t position_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string translate_regex(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace talpa::text
