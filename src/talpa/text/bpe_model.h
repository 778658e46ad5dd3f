#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "talpa/text/token_model.h"
#include "talpa/text/word_cache.h"

namespace talpa::text {

/// Settings of byte-pair encoding, named as in tokenizer.json.
struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

/// Byte-pair encoding (Sennrich et al. 2016): characters, then the known pair of lowest rank is
/// merged until none is left.
class BpeModel : public TokenModel {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;

  /// Throws kFormat naming `where` if a merge makes a token that the vocabulary lacks.
  BpeModel(std::shared_ptr<const Vocabulary> vocabulary, const Merges& merges, BpeOptions options,
           const std::string& where);

  void tokenize(std::string_view piece, std::vector<TokenId>& out) const override;

 private:
  struct Merge {
    std::int32_t rank;
    TokenId result;
  };
  struct KeyHash {
    std::size_t operator()(std::uint64_t key) const {
      return static_cast<std::size_t>((key ^ key >> 31) * 0x9e3779b97f4a7c15ULL >> 7);
    }
  };

  void add_merge(const std::string& left, const std::string& right, std::int32_t rank,
                 const std::string& where);
  std::string decorated(std::string_view character, bool first, bool last) const;
  std::vector<TokenId> symbols_of(std::string_view piece) const;
  bool add_bytes(std::string_view character, std::vector<TokenId>& symbols) const;
  void merge_all(std::vector<TokenId>& symbols) const;
  const Merge* find_merge(TokenId left, TokenId right) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  BpeOptions options_;
  std::optional<TokenId> unk_;
  std::unordered_map<std::uint64_t, Merge, KeyHash> merges_;
  mutable WordCache cache_;
};

/// The token "<0x0A>" of a byte.
std::string byte_token(unsigned char byte);

}  // namespace talpa::text
