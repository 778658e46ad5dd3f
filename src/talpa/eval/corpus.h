#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "talpa/text/tokenizer.h"

namespace talpa {

/// A text, with the domain it belongs to ("" where there is none).
struct TextDocument {
  std::string domain;
  std::string text;
};

/// Documents of a file: each line of a `.jsonl` is an object with `text` and, if it likes,
/// `domain`; any other file is one document. Throws kFormat naming file and line, also when
/// there is no text at all.
std::vector<TextDocument> read_documents(const std::filesystem::path& path);

/// A text as ids.
struct TokenDocument {
  std::string domain;
  std::vector<TokenId> tokens;
  bool has_start_token = false;  ///< tokens[0] is context, not text
  std::uint64_t bytes = 0;       ///< of the text, 0 = unknown
};

struct CorpusOptions {
  /// Put before every document, so that its first token can be scored too; -1 = nothing.
  TokenId start_token = -1;
  std::int64_t max_tokens = 0;  ///< stop after so many, 0 = all
};

/// Tokenizes documents; ones that come out empty are left out.
std::vector<TokenDocument> tokenize_documents(const std::vector<TextDocument>& documents,
                                              const Tokenizer& tokenizer,
                                              const CorpusOptions& options = {});

/// One document of raw little-endian ids: `.u16` or `.u32`. Throws kFormat for another ending, an
/// odd size, or an id that is not below `vocab_size`.
TokenDocument read_token_ids(const std::filesystem::path& path, int vocab_size,
                             std::int64_t max_tokens = 0);

/// Text bytes that a token stands for behind `previous`.
std::uint64_t bytes_of_token(const Tokenizer& tokenizer, TokenId previous, TokenId token);

}  // namespace talpa
