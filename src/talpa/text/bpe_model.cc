#include "talpa/text/bpe_model.h"

#include <queue>

#include "talpa/base/error.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

/// One of a row of symbols that is being merged.
struct Symbol {
  TokenId id;
  int previous;
  int next;
  bool alive;
};

/// A merge that may still be possible when its turn comes: lowest rank first, then leftmost.
struct Candidate {
  std::int32_t rank;
  int position;
  TokenId result;
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

std::vector<Symbol> linked(const std::vector<TokenId>& ids) {
  std::vector<Symbol> row;
  const int count = static_cast<int>(ids.size());
  for (int i = 0; i < count; ++i)
    row.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, true});
  return row;
}

}  // namespace

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

BpeModel::BpeModel(std::shared_ptr<const Vocabulary> vocabulary, const Merges& merges,
                   BpeOptions options, const std::string& where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  if (options_.unk_token) {
    unk_ = vocabulary_->find(*options_.unk_token);
    if (!unk_)
      fail(ErrorCode::kFormat, "{}: unk_token \"{}\" is not in the vocabulary", where,
           *options_.unk_token);
  }
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank)
    add_merge(merges[rank].first, merges[rank].second, static_cast<std::int32_t>(rank), where);
}

void BpeModel::add_merge(const std::string& left, const std::string& right, std::int32_t rank,
                         const std::string& where) {
  const std::string& prefix = options_.continuing_subword_prefix;
  if (right.size() < prefix.size())
    fail(ErrorCode::kFormat, "{}: merge {} (\"{}\", \"{}\") lacks the prefix \"{}\"", where, rank,
         left, right, prefix);
  const auto id = [&](const std::string& token) {
    const auto found = vocabulary_->find(token);
    if (!found)
      fail(ErrorCode::kFormat, "{}: merge {} (\"{}\", \"{}\"): \"{}\" is not in the vocabulary",
           where, rank, left, right, token);
    return *found;
  };
  const Merge merge{rank, id(left + right.substr(prefix.size()))};
  const auto key =
      static_cast<std::uint64_t>(id(left)) << 32 | static_cast<std::uint32_t>(id(right));
  merges_.insert_or_assign(key, merge);
}

const BpeModel::Merge* BpeModel::find_merge(TokenId left, TokenId right) const {
  const auto found =
      merges_.find(static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right));
  return found == merges_.end() ? nullptr : &found->second;
}

bool BpeModel::add_bytes(std::string_view character, std::vector<TokenId>& symbols) const {
  std::vector<TokenId> bytes;
  for (const char c : character) {
    const auto id = vocabulary_->find(byte_token(static_cast<unsigned char>(c)));
    if (!id) return false;
    bytes.push_back(*id);
  }
  symbols.insert(symbols.end(), bytes.begin(), bytes.end());
  return true;
}

std::string BpeModel::decorated(std::string_view character, bool first, bool last) const {
  std::string text = first ? "" : options_.continuing_subword_prefix;
  text += character;
  return last ? text + options_.end_of_word_suffix : text;
}

std::vector<TokenId> BpeModel::symbols_of(std::string_view piece) const {
  std::vector<TokenId> symbols;
  symbols.reserve(piece.size());
  // An unknown token is written when the next known one comes, even behind bytes: so do Hugging
  // Face's tokenizers.
  bool pending_unk = false;
  const auto flush = [&] {
    if (pending_unk) symbols.push_back(*unk_);
    pending_unk = false;
  };
  for (std::size_t i = 0; i < piece.size();) {
    const auto size = static_cast<std::size_t>(character_size(piece, i));
    const std::string_view character = piece.substr(i, size);
    const std::string text = decorated(character, i == 0, i + size == piece.size());
    const auto id = vocabulary_->find(text);
    i += size;
    if (id) {
      flush();
      symbols.push_back(*id);
    } else if (options_.byte_fallback && add_bytes(text, symbols)) {
      continue;
    } else if (unk_) {
      if (!options_.fuse_unk) flush();
      pending_unk = true;
    }
  }
  flush();
  return symbols;
}

void BpeModel::merge_all(std::vector<TokenId>& symbols) const {
  std::vector<Symbol> list = linked(symbols);
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int left) {
    if (left < 0) return;
    const Symbol& symbol = list[static_cast<std::size_t>(left)];
    if (symbol.next < 0) return;
    if (const Merge* merge = find_merge(symbol.id, list[static_cast<std::size_t>(symbol.next)].id))
      queue.push({merge->rank, left, merge->result});
  };
  for (int i = 0; i < static_cast<int>(list.size()); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = list[static_cast<std::size_t>(best.position)];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = list[static_cast<std::size_t>(left.next)];
    const Merge* merge = find_merge(left.id, right.id);
    if (!merge || merge->result != best.result) continue;
    left.id = best.result;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) list[static_cast<std::size_t>(left.next)].previous = best.position;
    consider(left.previous);
    consider(best.position);
  }
  symbols.clear();
  for (const Symbol& symbol : list)
    if (symbol.alive) symbols.push_back(symbol.id);
}

void BpeModel::tokenize(std::string_view piece, std::vector<TokenId>& out) const {
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_->find(piece)) {
      out.push_back(*id);
      return;
    }
  }
  if (cache_.find(piece, out)) return;
  std::vector<TokenId> symbols = symbols_of(piece);
  merge_all(symbols);
  cache_.insert(piece, symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

namespace {

BpeModel::Merges read_merges(Component& c) {
  BpeModel::Merges merges;
  for (const Json& merge : c.array("merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const auto space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
      c.fail_format(fmt::format("merges[{}]: expected \"a b\" or [\"a\", \"b\"], got {}",
                                merges.size(), merge.dump(-1, ' ', true).substr(0, 60)));
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

}  // namespace

ModelParts make_bpe(Component& c) {
  BpeOptions options;
  if (c.find("unk_token")) options.unk_token = c.string("unk_token");
  options.continuing_subword_prefix = c.string("continuing_subword_prefix", "");
  options.end_of_word_suffix = c.string("end_of_word_suffix", "");
  options.fuse_unk = c.boolean("fuse_unk", false);
  options.byte_fallback = c.boolean("byte_fallback", false);
  options.ignore_merges = c.boolean("ignore_merges", false);
  if (const Json* dropout = c.find("dropout"); dropout && *dropout != 0)
    fail(ErrorCode::kUnsupported, "{}: option \"dropout\" is not supported", c.where());
  ModelParts parts;
  parts.vocabulary = read_vocabulary(c, "vocab");
  parts.model = std::make_unique<BpeModel>(parts.vocabulary, read_merges(c), options, c.where());
  return parts;
}

}  // namespace talpa::text
