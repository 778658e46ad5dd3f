#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/eval/corpus.h"

namespace talpa {

/// How tokens are scored in windows.
enum class WindowConvention : std::uint8_t {
  /// Windows lie inside documents; every token with at least one token before it in its window is
  /// scored, once. With stride < context the overlap is context only.
  kTalpa,
  /// As llama-perplexity does: whole windows of one stream, a beginning token in place of the
  /// first if the tokenizer adds one, and only the second half scored.
  kLlamaCpp,
};
template <>
struct EnumNames<WindowConvention> {
  static constexpr std::pair<WindowConvention, const char*> table[] = {
      {WindowConvention::kTalpa, "talpa"}, {WindowConvention::kLlamaCpp, "llama.cpp"}};
};

struct WindowOptions {
  int context = 512;  ///< tokens a window
  int stride = 0;     ///< tokens from window to window, 0 = context
  WindowConvention convention = WindowConvention::kTalpa;
  TokenId start_token = -1;  ///< for kLlamaCpp, -1 = none
  /// Throws kConfig naming the setting.
  void validate() const;
};

/// Tokens fed together; those from `first_scored` (>= 1) on are scored.
struct Window {
  std::size_t document = 0;
  std::vector<TokenId> tokens;
  std::size_t first_scored = 1;

  std::size_t num_scored() const { return tokens.size() - first_scored; }
};

/// Cuts documents into windows. Throws kFormat if there is nothing to score.
std::vector<Window> make_windows(std::span<const TokenDocument> documents,
                                 const WindowOptions& options);

/// The group of each window for standard errors: documents if there are many, else windows.
std::vector<std::size_t> clusters_of(std::span<const Window> windows);

}  // namespace talpa
