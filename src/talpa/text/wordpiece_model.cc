#include "talpa/base/error.h"
#include "talpa/text/token_model.h"
#include "talpa/text/unicode.h"
#include "talpa/text/word_cache.h"

namespace talpa::text {

namespace {

struct WordPieceOptions {
  std::string unk_token;
  std::string continuing_subword_prefix;
  int max_input_chars_per_word = 100;
};

/// WordPiece (Devlin et al. 2019): the longest known token from the left, again and again; a word
/// with a part that is unknown is unknown as a whole.
class WordPieceModel : public TokenModel {
 public:
  WordPieceModel(std::shared_ptr<const Vocabulary> vocabulary, WordPieceOptions options,
                 const std::string& where)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    const auto unk = vocabulary_->find(options_.unk_token);
    if (!unk)
      fail(ErrorCode::kFormat, "{}: unk_token \"{}\" is not in the vocabulary", where,
           options_.unk_token);
    unk_ = *unk;
  }

  void tokenize(std::string_view piece, std::vector<TokenId>& out) const override {
    if (cache_.find(piece, out)) return;
    std::vector<TokenId> ids;
    if (!match(piece, ids)) ids = {unk_};
    cache_.insert(piece, ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }

 private:
  bool match(std::string_view word, std::vector<TokenId>& ids) const {
    std::vector<std::size_t> ends;
    for (std::size_t i = 0; i < word.size();)
      ends.push_back(i += static_cast<std::size_t>(character_size(word, i)));
    if (ends.size() > static_cast<std::size_t>(options_.max_input_chars_per_word)) return false;
    std::size_t begin = 0;
    for (std::size_t first = 0; first < ends.size();) {
      std::size_t last = ends.size();
      std::optional<TokenId> id;
      while (last > first && !id) {
        std::string part(begin ? options_.continuing_subword_prefix : "");
        part += word.substr(begin, ends[--last] - begin);
        id = vocabulary_->find(part);
      }
      if (!id) return false;
      ids.push_back(*id);
      begin = ends[last];
      first = last + 1;
    }
    return true;
  }

  std::shared_ptr<const Vocabulary> vocabulary_;
  WordPieceOptions options_;
  TokenId unk_ = 0;
  mutable WordCache cache_;
};

}  // namespace

ModelParts make_word_piece(Component& c) {
  WordPieceOptions options;
  options.unk_token = c.string("unk_token", "[UNK]");
  options.continuing_subword_prefix = c.string("continuing_subword_prefix", "##");
  options.max_input_chars_per_word = c.integer("max_input_chars_per_word", 100);
  // The search takes the square of this.
  if (options.max_input_chars_per_word > 10'000)
    fail(ErrorCode::kUnsupported, "{}: max_input_chars_per_word {} exceeds 10000", c.where(),
         options.max_input_chars_per_word);
  ModelParts parts;
  parts.vocabulary = read_vocabulary(c, "vocab");
  parts.model = std::make_unique<WordPieceModel>(parts.vocabulary, options, c.where());
  return parts;
}

}  // namespace talpa::text
