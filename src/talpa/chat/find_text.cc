#include "talpa/chat/find_text.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace talpa::chat {

namespace {

/// Length of the longest proper prefix that is also a suffix, of every prefix (Knuth, Morris and
/// Pratt 1977).
std::vector<std::size_t> borders(std::string_view part) {
  std::vector<std::size_t> length(part.size(), 0);
  for (std::size_t i = 1, border = 0; i < part.size(); ++i) {
    while (border > 0 && part[i] != part[border]) border = length[border - 1];
    if (part[i] == part[border]) ++border;
    length[i] = border;
  }
  return length;
}

}  // namespace

std::size_t find_text(std::string_view text, std::string_view part, std::size_t from) {
  constexpr std::size_t kShort = 32;
  if (part.size() <= kShort) return text.find(part, from);
  const std::vector<std::size_t> border = borders(part);
  std::size_t matched = 0;
  for (std::size_t i = from; i < text.size(); ++i) {
    while (matched > 0 && text[i] != part[matched]) matched = border[matched - 1];
    if (text[i] == part[matched]) ++matched;
    if (matched == part.size()) return i + 1 - matched;
  }
  return std::string_view::npos;
}

std::size_t find_last_text(std::string_view text, std::string_view part) {
  const std::string backwards(text.rbegin(), text.rend());
  const std::size_t found = find_text(backwards, std::string(part.rbegin(), part.rend()));
  return found == std::string_view::npos ? found : text.size() - found - part.size();
}

}  // namespace talpa::chat
