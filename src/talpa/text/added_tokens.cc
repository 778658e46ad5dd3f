#include "talpa/text/added_tokens.h"

#include <algorithm>
#include <array>
#include <map>

#include "talpa/text/unicode.h"

namespace talpa::text {

struct AddedTokenFinder::Trie {
  struct Node {
    std::map<unsigned char, int> children;
    int token = -1;
  };
  std::vector<Node> nodes = std::vector<Node>(1);
  std::vector<AddedToken> tokens;
  std::array<bool, 256> begins{};

  /// Index of the longest token at the front of `text` and its length, or -1.
  std::pair<int, std::size_t> longest(std::string_view text) const {
    std::pair<int, std::size_t> best{-1, 0};
    std::size_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto child = nodes[node].children.find(static_cast<unsigned char>(text[i]));
      if (child == nodes[node].children.end()) break;
      node = static_cast<std::size_t>(child->second);
      if (nodes[node].token >= 0) best = {nodes[node].token, i + 1};
    }
    return best;
  }
};

AddedTokenFinder::AddedTokenFinder() : trie_(std::make_unique<Trie>()) {}
AddedTokenFinder::~AddedTokenFinder() = default;
AddedTokenFinder::AddedTokenFinder(AddedTokenFinder&&) noexcept = default;

void AddedTokenFinder::add(std::string_view written, AddedToken token) {
  if (written.empty()) return;
  trie_->begins[static_cast<unsigned char>(written[0])] = true;
  std::size_t node = 0;
  for (const char c : written) {
    const auto next = static_cast<int>(trie_->nodes.size());
    const auto [child, added] =
        trie_->nodes[node].children.try_emplace(static_cast<unsigned char>(c), next);
    node = static_cast<std::size_t>(child->second);
    if (added) trie_->nodes.emplace_back();
  }
  if (trie_->nodes[node].token >= 0) return;
  trie_->nodes[node].token = static_cast<int>(trie_->tokens.size());
  trie_->tokens.push_back(std::move(token));
}

namespace {

char32_t character_before(std::string_view text) {
  std::size_t i = text.size() - 1;
  while ((static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) --i;
  return character_at(text, i).code;
}

/// Where the white space at the end of `text` begins.
std::size_t strip_end(std::string_view text) {
  while (!text.empty() && is_white_space(character_before(text)))
    text.remove_suffix(to_utf8(character_before(text)).size());
  return text.size();
}

/// Length of the white space at the front of `text`.
std::size_t space_at_front(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size() && is_white_space(character_at(text, i).code))
    i += static_cast<std::size_t>(character_size(text, i));
  return i;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin == 0 || !is_word(character_before(text.substr(0, begin)))) &&
         (end == text.size() || !is_word(character_at(text, end).code));
}

}  // namespace

std::vector<TokenSpan> AddedTokenFinder::find(std::string_view text, bool special) const {
  std::vector<TokenSpan> spans;
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (!trie_->begins[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    const auto [index, size] = trie_->longest(text.substr(i));
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = trie_->tokens[static_cast<std::size_t>(index)];
    std::size_t begin = i, end = i + size;
    i = end;
    if (token.special && !special) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(strip_end(text.substr(0, begin)), done);
    if (token.rstrip) end += space_at_front(text.substr(end));
    // White space taken by the token before may have been a token itself.
    begin = std::max(begin, done);
    if (end < begin) continue;
    if (done < begin) spans.push_back({-1, done, begin});
    spans.push_back({token.id, begin, end});
    done = end;
  }
  if (done < text.size()) spans.push_back({-1, done, text.size()});
  return spans;
}

}  // namespace talpa::text
