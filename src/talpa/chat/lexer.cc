#include "talpa/chat/lexer.h"

#include <array>

#include "talpa/chat/characters.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

/// Line ends made '\n', and the last one removed.
std::string normalized_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (source.substr(i + 1, 1) == "\n") ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_byte(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized_lines(source)) {
    if (!text::is_valid_utf8(source_)) fail_at({}, "the template is not UTF-8");
  }

  std::vector<Token> run() {
    while (position_ < source_.size()) outside();
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text) const {
    return std::string_view(source_).substr(position_).starts_with(text);
  }

  Position here() {
    for (; counted_ < position_; ++counted_) {
      if (source_[counted_] != '\n') continue;
      ++line_;
      line_start_ = counted_ + 1;
    }
    return {line_, static_cast<int>(position_ - line_start_) + 1};
  }

  void push(TokenKind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), here()});
  }

  void skip_white_space() {
    while (position_ < source_.size()) {
      const auto character = text::character_at(source_, position_);
      if (!is_python_space(character.code)) return;
      position_ += character.size;
    }
  }

  /// Text up to the next tag, and that tag's beginning.
  void outside() {
    std::size_t tag = position_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 == source_.size()) tag = source_.size();
      if (tag == source_.size() || std::string_view("%{#").find(source_[tag + 1]) != npos) break;
    }
    const std::size_t begin = position_;
    if (tag == source_.size()) {
      data(begin, tag);
      position_ = tag;
      return;
    }
    data(begin, kept_end(begin, tag, source_[tag + 1] != '{'));
    position_ = tag;
    open_tag();
  }

  /// Where the text before a tag ends once the tag's white space control has been applied.
  std::size_t kept_end(std::size_t begin, std::size_t tag, bool strips_line) const {
    const std::string_view text = std::string_view(source_).substr(begin, tag - begin);
    const std::string_view sign = std::string_view(source_).substr(tag + 2, 1);
    if (sign == "-") return begin + stripped_right(text).size();
    if (sign == "+" || !strips_line) return tag;
    const auto newline = text.rfind('\n');
    if (newline == npos && !line_starting_) return tag;
    const std::size_t line = newline == npos ? 0 : newline + 1;
    return stripped_right(text.substr(line)).empty() ? begin + line : tag;
  }

  void data(std::size_t begin, std::size_t end) {
    if (end > begin) push(TokenKind::kData, source_.substr(begin, end - begin));
  }

  void open_tag() {
    const char kind = source_[position_ + 1];
    const Position at_tag = here();
    const bool is_block = kind == '%';
    std::size_t length = 2;
    if (at("{%-") || at("{%+") || at("{{-") || at("{{+") || at("{#-") || at("{#+")) length = 3;
    if (kind == '#') return comment(at_tag);
    if (is_block && raw(length, at_tag)) return;
    push(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    position_ += length;
    inside(is_block, at_tag);
  }

  void comment(Position at_tag) {
    const auto end = source_.find("#}", position_ + 2);
    if (end == npos) fail_at(at_tag, "a comment that is not closed by '#}}'");
    close_tag(end, end > position_ + 2 ? source_[end - 1] : ' ', true);
  }

  /// Behind the two characters that close a tag, with the white space that it swallows.
  void close_tag(std::size_t end, char sign, bool trims_newline) {
    position_ = end + 2;
    if (sign == '-') {
      skip_white_space();
    } else if (sign != '+' && trims_newline && at("\n")) {
      ++position_;
    }
    line_starting_ = source_[position_ - 1] == '\n';
  }

  /// {% raw %} ... {% endraw %}: true if one is here.
  bool raw(std::size_t length, Position at_tag) {
    const std::size_t start = position_;
    position_ += length;
    skip_white_space();
    const bool named = at("raw");
    if (named) position_ += 3;
    skip_white_space();
    if (!named || !(at("%}") || at("-%}"))) {
      position_ = start;
      return false;
    }
    const bool strips = at("-");
    close_tag(position_ + (strips ? 1 : 0), strips ? '-' : ' ', false);
    raw_text(at_tag);
    return true;
  }

  void raw_text(Position at_tag) {
    const std::size_t begin = position_;
    for (std::size_t tag = source_.find("{%", begin); tag != npos;
         tag = source_.find("{%", tag + 2)) {
      position_ = tag + 2;
      if (at("-") || at("+")) ++position_;
      skip_white_space();
      if (!at("endraw")) continue;
      position_ += 6;
      skip_white_space();
      const char sign = position_ < source_.size() ? source_[position_] : ' ';
      if (sign == '-' || sign == '+') ++position_;
      if (!at("%}")) continue;
      const std::size_t end = position_;
      position_ = begin;
      data(begin, kept_end(begin, tag, true));
      close_tag(end, sign, true);
      return;
    }
    fail_at(at_tag, "{{% raw %}} without {{% endraw %}}");
  }

  /// The tokens of a tag up to and with its end.
  void inside(bool is_block, Position at_tag) {
    std::string brackets;
    const std::string_view end = is_block ? "%}" : "}}";
    for (;;) {
      skip_white_space();
      if (position_ >= source_.size()) fail_at(at_tag, "a tag that is not closed by '{}'", end);
      const bool signed_end =
          (at("-") || (is_block && at("+"))) && source_.compare(position_ + 1, 2, end) == 0;
      if (brackets.empty() && (signed_end || at(end))) {
        push(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
        close_tag(position_ + (signed_end ? 1 : 0), signed_end ? source_[position_] : ' ',
                  is_block);
        return;
      }
      token(brackets);
    }
  }

  void token(std::string& brackets) {
    const char c = source_[position_];
    if (is_digit(c)) {
      number();
    } else if (is_name_byte(c)) {
      std::size_t end = position_;
      while (end < source_.size() && is_name_byte(source_[end])) ++end;
      push(TokenKind::kName, source_.substr(position_, end - position_));
      position_ = end;
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      operation(brackets);
    }
  }

  void number() {
    std::size_t end = position_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    const bool behind_dot = !tokens_.empty() && tokens_.back().text == ".";
    bool fraction = false;
    const auto is_at = [&](std::size_t i) { return i < source_.size() && is_digit(source_[i]); };
    if (!behind_dot && source_.compare(end, 1, ".") == 0 && is_at(end + 1)) {
      fraction = true;
      ++end;
      digits();
    }
    if (source_.compare(end, 1, "e") == 0 || source_.compare(end, 1, "E") == 0) {
      const bool sign =
          end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      if (is_at(end + (sign ? 2 : 1))) {
        fraction = true;
        end += sign ? 2 : 1;
        digits();
      }
    }
    std::string text = source_.substr(position_, end - position_);
    std::erase(text, '_');
    push(fraction ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    position_ = end;
  }

  void string(char quote) {
    std::size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail_at(here(), "a string that is not closed by {}", quote);
    const auto literal = std::string_view(source_).substr(position_ + 1, end - position_ - 1);
    push(TokenKind::kString, unescape(literal, here()));
    position_ = end + 1;
  }

  void operation(std::string& brackets) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "==", "!=", ">=", "<=", "//", "**", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view candidate : kOperators) {
      if (!at(candidate)) continue;
      if (std::string_view("([{").find(candidate) != npos) brackets += candidate;
      if (std::string_view(")]}").find(candidate) != npos) close_bracket(brackets, candidate[0]);
      push(TokenKind::kOperator, std::string(candidate));
      position_ += candidate.size();
      return;
    }
    fail_at(here(), "unexpected character '{}'", source_[position_]);
  }

  void close_bracket(std::string& brackets, char c) {
    const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (!brackets.ends_with(open)) fail_at(here(), "'{}' without its '{}'", c, open);
    brackets.pop_back();
  }

  static constexpr std::size_t npos = std::string::npos;

  const std::string source_;
  std::size_t position_ = 0;
  std::vector<Token> tokens_;
  bool line_starting_ = true;
  std::size_t counted_ = 0;
  std::size_t line_start_ = 0;
  int line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace talpa::chat
