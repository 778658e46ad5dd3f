#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "talpa/text/vocabulary.h"

namespace talpa::text {

/// Tokens by their bytes, for finding all that a text begins with.
class TokenTrie {
 public:
  /// An empty token is never found. A token added twice keeps the id given last.
  void add(std::string_view token, TokenId id) {
    if (token.empty()) return;
    std::size_t node = 0;
    for (const char c : token) node = child_or_new(node, static_cast<unsigned char>(c));
    nodes_[node].id = id;
  }

  /// Calls visit(length, id) for every token that is a prefix of `text`, shortest first.
  template <class Visit>
  void prefixes(std::string_view text, const Visit& visit) const {
    std::size_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (nodes_[node].id >= 0) visit(i + 1, nodes_[node].id);
    }
  }

 private:
  struct Edge {
    unsigned char byte;
    std::uint32_t node;
  };
  struct Node {
    std::vector<Edge> edges;  ///< by byte, ascending
    TokenId id = -1;
  };

  static auto find_edge(auto& edges, unsigned char byte) {
    return std::lower_bound(edges.begin(), edges.end(), byte,
                            [](const Edge& edge, unsigned char b) { return edge.byte < b; });
  }

  std::size_t child(std::size_t node, unsigned char byte) const {
    const auto& edges = nodes_[node].edges;
    const auto edge = find_edge(edges, byte);
    return edge == edges.end() || edge->byte != byte ? 0 : edge->node;
  }

  std::size_t child_or_new(std::size_t node, unsigned char byte) {
    if (const std::size_t found = child(node, byte)) return found;
    auto& edges = nodes_[node].edges;
    edges.insert(find_edge(edges, byte), {byte, static_cast<std::uint32_t>(nodes_.size())});
    nodes_.emplace_back();
    return nodes_.size() - 1;
  }

  std::vector<Node> nodes_ = std::vector<Node>(1);
};

}  // namespace talpa::text
