#include "talpa/text/sentencepiece_model.h"

#include <queue>

#include "talpa/text/bpe_model.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

struct Symbol {
  std::size_t begin;
  std::size_t size;  ///< 0 once merged into the one before
  int previous;
  int next;
};

struct Candidate {
  float score;
  int left;
  int right;
  std::size_t size;
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class SentencePieceModel : public TokenModel {
 public:
  SentencePieceModel(std::shared_ptr<const Vocabulary> vocabulary, std::vector<float> scores,
                     std::vector<TokenType> types, TokenId unk)
      : vocabulary_(std::move(vocabulary)),
        scores_(std::move(scores)),
        types_(std::move(types)),
        unk_(unk) {}

  void tokenize(std::string_view piece, std::vector<TokenId>& out) const override {
    std::vector<Symbol> symbols = characters_of(piece);
    merge_all(piece, symbols);
    for (const Symbol& symbol : symbols)
      if (symbol.size) add_symbol(piece.substr(symbol.begin, symbol.size), out);
  }

 private:
  static std::vector<Symbol> characters_of(std::string_view text) {
    std::vector<Symbol> symbols;
    for (std::size_t i = 0; i < text.size();) {
      const auto size = static_cast<std::size_t>(character_size(text, i));
      const int index = static_cast<int>(symbols.size());
      symbols.push_back({i, size, index - 1, index + 1});
      i += size;
    }
    if (!symbols.empty()) symbols.back().next = -1;
    return symbols;
  }

  /// The token of a stretch of text; control and byte tokens are never text.
  std::optional<TokenId> find(std::string_view text) const {
    const auto id = vocabulary_->find(text);
    if (!id || static_cast<std::size_t>(*id) >= types_.size()) return std::nullopt;
    const TokenType type = types_[static_cast<std::size_t>(*id)];
    const bool is_text =
        type == TokenType::kNormal || type == TokenType::kUserDefined || type == TokenType::kUnused;
    return is_text ? id : std::nullopt;
  }

  void merge_all(std::string_view text, std::vector<Symbol>& symbols) const {
    const auto at = [&](int i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
    std::priority_queue<Candidate> queue;
    const auto consider = [&](int left, int right) {
      if (left < 0 || right < 0) return;
      const std::size_t size = at(left).size + at(right).size;
      if (const auto id = find(text.substr(at(left).begin, size)))
        queue.push({scores_[static_cast<std::size_t>(*id)], left, right, size});
    };
    for (int i = 1; i < static_cast<int>(symbols.size()); ++i) consider(i - 1, i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = at(best.left);
      Symbol& right = at(best.right);
      if (!left.size || !right.size || left.size + right.size != best.size) continue;
      left.size = best.size;
      right.size = 0;
      left.next = right.next;
      if (right.next >= 0) at(right.next).previous = best.left;
      consider(left.previous, best.left);
      consider(best.left, left.next);
    }
  }

  void add_symbol(std::string_view text, std::vector<TokenId>& out) const {
    if (const auto id = find(text)) {
      out.push_back(*id);
      return;
    }
    for (const char c : text)
      out.push_back(vocabulary_->find(byte_token(static_cast<unsigned char>(c))).value_or(unk_));
  }

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<float> scores_;
  std::vector<TokenType> types_;
  TokenId unk_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_sentencepiece(std::shared_ptr<const Vocabulary> vocabulary,
                                                     std::vector<float> scores,
                                                     std::vector<TokenType> types, TokenId unk) {
  return std::make_unique<SentencePieceModel>(std::move(vocabulary), std::move(scores),
                                              std::move(types), unk);
}

}  // namespace talpa::text
