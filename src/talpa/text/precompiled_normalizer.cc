#include <utf8proc.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "talpa/base/error.h"
#include "talpa/text/normalizer.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

std::string decode_base64(std::string_view text, const std::string& where) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const auto digit = kDigits.find(c);
    if (digit == std::string_view::npos)
      fail(ErrorCode::kFormat, "{}: precompiled_charsmap is not base64", where);
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xff));
    }
  }
  return out;
}

/// A double-array trie (Aoe 1989) in the layout of darts-clone, and the strings its leaves name.
class CharacterMap {
 public:
  CharacterMap(std::string_view blob, const std::string& where) {
    const std::uint32_t bytes = blob.size() < 4 ? 0 : word(blob, 0);
    if (blob.size() < 8 || bytes % 4 != 0 || bytes < 4 || bytes > blob.size() - 4)
      fail(ErrorCode::kFormat, "{}: precompiled_charsmap of {} bytes has a trie of {} bytes", where,
           blob.size(), bytes);
    for (std::size_t i = 0; i < bytes; i += 4) units_.push_back(word(blob, 4 + i));
    strings_ = blob.substr(4 + bytes);
    if (!is_valid_utf8(strings_))
      fail(ErrorCode::kFormat, "{}: precompiled_charsmap holds invalid UTF-8", where);
  }

  /// What the shortest known beginning of `key` becomes; nullopt if none is known.
  std::optional<std::string_view> find(std::string_view key) const {
    std::size_t node = offset(units_[0]);
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) break;
      node ^= byte;
      if (node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
      const std::uint32_t unit = units_[node];
      node ^= offset(unit);
      if (!has_leaf(unit)) continue;
      if (node >= units_.size()) return std::nullopt;
      return string_at(units_[node] & 0x7fffffffU);
    }
    return std::nullopt;
  }

 private:
  static std::uint32_t word(std::string_view bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
    return value;
  }
  static std::size_t offset(std::uint32_t unit) {
    return static_cast<std::size_t>(unit >> 10) << ((unit & (1U << 9)) >> 6);
  }
  static std::uint32_t label(std::uint32_t unit) { return unit & (1U << 31 | 0xff); }
  static bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) == 1; }

  std::optional<std::string_view> string_at(std::size_t begin) const {
    const std::string_view strings = strings_;
    if (begin > strings.size()) return std::nullopt;
    // A place inside a character would make invalid text of a broken file.
    if (begin < strings.size() && (static_cast<unsigned char>(strings[begin]) & 0xc0) == 0x80)
      return std::nullopt;
    return strings.substr(begin, strings.find('\0', begin) - begin);
  }

  std::vector<std::uint32_t> units_;
  std::string strings_;
};

/// SentencePiece's normalisation as Hugging Face's tokenizers apply it: a grapheme cluster of
/// fewer than six bytes is looked up whole first, then every character by itself.
class PrecompiledNormalizer : public Normalizer {
 public:
  explicit PrecompiledNormalizer(CharacterMap map) : map_(std::move(map)) {}

  void apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = grapheme_end(text, begin);
      add_grapheme(std::string_view(text).substr(begin, end - begin), out);
      begin = end;
    }
    text = std::move(out);
  }

 private:
  static constexpr std::size_t kMaxWhole = 6;

  static std::size_t grapheme_end(std::string_view text, std::size_t begin) {
    utf8proc_int32_t state = 0;
    Character c = character_at(text, begin);
    std::size_t end = begin + static_cast<std::size_t>(c.size);
    while (end < text.size()) {
      const Character next = character_at(text, end);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.code),
                                           static_cast<utf8proc_int32_t>(next.code), &state))
        break;
      end += static_cast<std::size_t>(next.size);
      c = next;
    }
    return end;
  }

  void add_grapheme(std::string_view grapheme, std::string& out) const {
    if (grapheme.size() < kMaxWhole) {
      if (const auto whole = map_.find(grapheme)) {
        out += *whole;
        return;
      }
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::string_view part =
          grapheme.substr(i, static_cast<std::size_t>(character_size(grapheme, i)));
      out += map_.find(part).value_or(part);
      i += part.size();
    }
  }

  CharacterMap map_;
};

}  // namespace

std::unique_ptr<const Normalizer> make_precompiled(const std::string& base64,
                                                   const std::string& where) {
  return std::make_unique<PrecompiledNormalizer>(CharacterMap(decode_base64(base64, where), where));
}

}  // namespace talpa::text
