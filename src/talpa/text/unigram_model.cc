#include <algorithm>
#include <limits>

#include "talpa/base/error.h"
#include "talpa/text/bpe_model.h"
#include "talpa/text/token_model.h"
#include "talpa/text/token_trie.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

/// An unknown character costs this much more than the least likely token.
constexpr double kUnkPenalty = 10.0;

/// Unigram language model (Kudo 2018): the most likely way to cut a text into tokens, found with
/// Viterbi's algorithm.
class UnigramModel : public TokenModel {
 public:
  UnigramModel(std::shared_ptr<const Vocabulary> vocabulary, std::vector<double> scores,
               std::optional<TokenId> unk, bool byte_fallback)
      : vocabulary_(std::move(vocabulary)),
        scores_(std::move(scores)),
        unk_(unk),
        byte_fallback_(byte_fallback) {
    double least = 0;
    for (std::size_t id = 0; id < scores_.size(); ++id) {
      const auto token_id = static_cast<TokenId>(id);
      const std::string& token = vocabulary_->token(token_id);
      trie_.add(token, *vocabulary_->find(token));
      least = id == 0 ? scores_[id] : std::min(least, scores_[id]);
    }
    unk_score_ = least - kUnkPenalty;
  }

  void tokenize(std::string_view piece, std::vector<TokenId>& out) const override {
    const std::vector<Node> nodes = best_paths(piece);
    std::vector<std::pair<std::size_t, std::size_t>> parts;
    bool previous_unk = false;
    for (std::size_t end = piece.size(); end > 0;) {
      const Node& node = nodes[end];
      const bool unk = node.id == kUnknown || (unk_ && node.id == *unk_);
      if (unk && previous_unk) {
        parts.back().first = node.begin;
      } else {
        parts.emplace_back(node.begin, end);
      }
      previous_unk = unk && unk_;
      end = node.begin;
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part)
      add_part(piece.substr(part->first, part->second - part->first), out);
  }

 private:
  static constexpr TokenId kUnknown = -1;
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  /// The best way to arrive at a byte of the text: the token that ends there.
  struct Node {
    double score = 0;
    std::size_t begin = kNone;
    TokenId id = kUnknown;
  };

  std::vector<Node> best_paths(std::string_view text) const {
    std::vector<Node> nodes(text.size() + 1);
    for (std::size_t begin = 0; begin < text.size();) {
      const auto size = static_cast<std::size_t>(character_size(text, begin));
      const double so_far = nodes[begin].score;
      const auto reach = [&](std::size_t end, double score, TokenId id) {
        Node& node = nodes[end];
        if (node.begin == kNone || score > node.score) node = {score, begin, id};
      };
      bool single = false;
      trie_.prefixes(text.substr(begin), [&](std::size_t length, TokenId id) {
        reach(begin + length, scores_[static_cast<std::size_t>(id)] + so_far, id);
        single = single || length == size;
      });
      if (!single) reach(begin + size, unk_score_ + so_far, kUnknown);
      begin += size;
    }
    return nodes;
  }

  /// A part that is no token is unknown, or its bytes.
  void add_part(std::string_view part, std::vector<TokenId>& out) const {
    if (const auto id = vocabulary_->find(part)) {
      out.push_back(*id);
      return;
    }
    if (byte_fallback_ && add_bytes(part, out)) return;
    if (!unk_)
      fail(ErrorCode::kFormat, "the Unigram model has no unknown token, and none for \"{}\"", part);
    out.push_back(*unk_);
  }

  bool add_bytes(std::string_view part, std::vector<TokenId>& out) const {
    std::vector<TokenId> bytes;
    for (const char c : part) {
      const auto id = vocabulary_->find(byte_token(static_cast<unsigned char>(c)));
      if (!id) return false;
      bytes.push_back(*id);
    }
    out.insert(out.end(), bytes.begin(), bytes.end());
    return true;
  }

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<double> scores_;
  std::optional<TokenId> unk_;
  bool byte_fallback_;
  double unk_score_ = 0;
  TokenTrie trie_;
};

}  // namespace

ModelParts make_unigram(Component& c) {
  ModelParts parts;
  parts.vocabulary = std::make_shared<Vocabulary>();
  std::vector<double> scores;
  for (const Json& entry : c.array("vocab")) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      c.fail_format(fmt::format("vocab[{}] is not [token, score]", scores.size()));
    parts.vocabulary->append(entry[0].get<std::string>(), c.where());
    scores.push_back(entry[1].get<double>());
  }
  std::optional<TokenId> unk;
  if (c.find("unk_id")) {
    unk = c.integer("unk_id");
    if (*unk >= parts.vocabulary->size())
      c.fail_format(fmt::format("unk_id {} is not in the vocabulary of {}", *unk, scores.size()));
  }
  const bool byte_fallback = c.boolean("byte_fallback", false);
  parts.model =
      std::make_unique<UnigramModel>(parts.vocabulary, std::move(scores), unk, byte_fallback);
  return parts;
}

}  // namespace talpa::text
