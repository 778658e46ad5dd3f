#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/format/gguf.h"

namespace talpa {

using TokenId = std::int32_t;

/// Text to ids and back, as Hugging Face tokenizers does it. Thread-safe once made. A file's
/// settings of truncation and padding are not applied.
class Tokenizer {
 public:
  /// From a `tokenizer.json` (BPE byte-level or with byte fallback, WordPiece, Unigram). A
  /// component that is not known throws kUnsupported naming it.
  static std::shared_ptr<const Tokenizer> from_json(const Json& json, const std::string& source);
  static std::shared_ptr<const Tokenizer> from_file(const std::filesystem::path& path);
  /// From GGUF metadata (`tokenizer.ggml.*`, models "gpt2" and "llama"). A pre-tokenizer that is
  /// not known throws kUnsupported.
  static std::shared_ptr<const Tokenizer> from_gguf(const GgufFile& file);

  virtual ~Tokenizer() = default;

  /// Ids of `text` (UTF-8; invalid bytes become U+FFFD). Special tokens written in the text are
  /// recognised if `parse_special`; the template's beginning and end tokens are added if
  /// `add_special`.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special = true,
                                      bool parse_special = true) const = 0;
  /// Text of ids; special tokens are left out if `skip_special`. May end in the middle of a
  /// UTF-8 character when the ids do.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special = true) const = 0;

  virtual int vocab_size() const = 0;
  /// The token as it stands in the vocabulary; throws kNotFound for an id out of range.
  virtual const std::string& token(TokenId id) const = 0;
  virtual std::optional<TokenId> id_of(std::string_view token) const = 0;
  virtual bool is_special(TokenId id) const = 0;
};

/// Text of ids that arrive one by one, as decode() of all of them would have it, in pieces of
/// whole UTF-8 characters.
class DecodeStream {
 public:
  explicit DecodeStream(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}
  /// Takes an id, returns the text that is certain now.
  std::string push(TokenId id);
  /// What is left at the end, broken bytes as U+FFFD.
  std::string finish();

 private:
  std::string behind_told(const std::string& text) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::vector<TokenId> window_;  ///< the last ids: context, then what is not told yet
  std::string told_;             ///< text of the context
  std::size_t told_tokens_ = 0;  ///< length of the context
};

/// Bytes of text that arrive in pieces, handed on only up to the last whole UTF-8 character.
class Utf8Buffer {
 public:
  /// Takes bytes, returns what is whole.
  std::string push(std::string_view bytes);
  /// What is left at the end, broken bytes as U+FFFD.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace talpa
