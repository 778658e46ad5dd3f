// str.isalpha and its like, by general categories.
#include <utf8proc.h>

#include "talpa/chat/characters.h"
#include "talpa/chat/runtime.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

utf8proc_category_t category(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}
bool is_letter(char32_t code) {
  return category(code) >= UTF8PROC_CATEGORY_LU && category(code) <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
bool is_letter_or_number(char32_t code) { return is_letter(code) || text::is_numeric(code); }
bool is_upper(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LL; }

/// All characters are of the kind, and there is one.
template <bool (*kIs)(char32_t)>
Value all_characters(Call& call) {
  const std::string& text = call.self.string();
  for (std::size_t i = 0; i < text.size();) {
    const auto character = text::character_at(text, i);
    if (!kIs(character.code)) return false;
    i += character.size;
  }
  return !text.empty();
}

/// There is a letter of this case and none of the other.
template <bool (*kIs)(char32_t), bool (*kOther)(char32_t)>
Value of_case(Call& call) {
  const std::string& text = call.self.string();
  bool found = false;
  for (std::size_t i = 0; i < text.size();) {
    const auto character = text::character_at(text, i);
    if (kOther(character.code) || category(character.code) == UTF8PROC_CATEGORY_LT) return false;
    found = found || kIs(character.code);
    i += character.size;
  }
  return found;
}

constexpr NamedNative kPredicates[] = {
    {"isalpha", all_characters<is_letter>},
    {"isdigit", all_characters<is_decimal>},
    {"isdecimal", all_characters<is_decimal>},
    {"isnumeric", all_characters<text::is_numeric>},
    {"isalnum", all_characters<is_letter_or_number>},
    {"isspace", all_characters<is_python_space>},
    {"isupper", of_case<is_upper, is_lower>},
    {"islower", of_case<is_lower, is_upper>},
};

}  // namespace

Native find_string_predicate(std::string_view name) { return find_in(kPredicates, name); }

}  // namespace talpa::chat
