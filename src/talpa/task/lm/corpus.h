#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/file.h"
#include "talpa/text/tokenizer.h"

namespace talpa::lm {

/// Documents of a JSON Lines file (`{"text": ..., "domain": ...}`) as one stream of ids, each
/// document followed by `end_token`. Ids are cached in a file beside other caches, named by a
/// hash of tokenizer and source, and mapped.
class TokenStream {
 public:
  /// Throws kFormat naming file and line for a line that is not such an object.
  TokenStream(const std::filesystem::path& jsonl, const std::filesystem::path& tokenizer_json,
              TokenId end_token, const std::filesystem::path& cache_directory);

  std::span<const std::uint16_t> ids() const { return ids_; }
  /// Name of the source with 16 digits that change with its contents, the tokenizer and the end
  /// token.
  std::string key() const { return file_.path().stem().string(); }
  /// UTF-8 bytes of all documents.
  std::int64_t num_bytes() const { return num_bytes_; }

 private:
  MappedFile file_;
  std::span<const std::uint16_t> ids_;
  std::int64_t num_bytes_ = 0;
};

/// Order of training windows: the stream is cut into windows of `window` + 1 ids, permuted anew
/// each epoch by the seed. Window number `index` of a run depends on nothing else.
class WindowOrder {
 public:
  /// Throws kConfig, naming `source`, when the ids do not fill one window.
  WindowOrder(std::int64_t num_ids, int window, std::uint64_t seed, const std::string& source);
  std::int64_t num_windows() const { return num_windows_; }
  /// First id of window `index` (counted over epochs).
  std::int64_t start(std::int64_t index);

 private:
  std::int64_t num_windows_;
  int window_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::int32_t> order_;
};

}  // namespace talpa::lm
