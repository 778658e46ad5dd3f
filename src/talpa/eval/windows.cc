#include "talpa/eval/windows.h"

#include <algorithm>

namespace talpa {

namespace {

void cut_document(const TokenDocument& document, std::size_t index, const WindowOptions& options,
                  std::vector<Window>& windows) {
  const auto context = static_cast<std::size_t>(options.context);
  const auto stride =
      static_cast<std::size_t>(options.stride > 0 ? options.stride : options.context);
  const std::vector<TokenId>& tokens = document.tokens;
  std::size_t scored_up_to = 0;
  for (std::size_t start = 0; scored_up_to < tokens.size(); start += stride) {
    const std::size_t end = std::min(start + context, tokens.size());
    const std::size_t first = std::max(scored_up_to, start + 1);
    scored_up_to = end;
    if (first >= end) continue;
    windows.push_back({.document = index,
                       .tokens = {tokens.begin() + static_cast<std::ptrdiff_t>(start),
                                  tokens.begin() + static_cast<std::ptrdiff_t>(end)},
                       .first_scored = first - start});
  }
}

void cut_like_llama_cpp(std::span<const TokenDocument> documents, const WindowOptions& options,
                        std::vector<Window>& windows) {
  const auto context = static_cast<std::size_t>(options.context);
  for (std::size_t d = 0; d < documents.size(); ++d) {
    const std::vector<TokenId>& tokens = documents[d].tokens;
    for (std::size_t start = 0; start + context <= tokens.size(); start += context) {
      const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(start);
      Window window{.document = d,
                    .tokens = {begin, begin + static_cast<std::ptrdiff_t>(context)},
                    .first_scored = context / 2 + 1};
      if (options.start_token >= 0) window.tokens.front() = options.start_token;
      windows.push_back(std::move(window));
    }
  }
}

}  // namespace

void WindowOptions::validate() const {
  constexpr int kMaxContext = 1 << 20;
  if (context < 2 || context > kMaxContext)
    fail(ErrorCode::kConfig, "context = {} is not between 2 and {}", context, kMaxContext);
  if (stride < 0 || stride > context)
    fail(ErrorCode::kConfig, "stride = {} is not between 1 and context = {}", stride, context);
  if (convention == WindowConvention::kLlamaCpp && (context < 4 || (stride && stride != context)))
    fail(ErrorCode::kConfig, "llama.cpp's convention wants context >= 4 and no stride");
}

std::vector<Window> make_windows(std::span<const TokenDocument> documents,
                                 const WindowOptions& options) {
  options.validate();
  std::vector<Window> windows;
  if (options.convention == WindowConvention::kLlamaCpp)
    cut_like_llama_cpp(documents, options, windows);
  else
    for (std::size_t d = 0; d < documents.size(); ++d)
      cut_document(documents[d], d, options, windows);
  if (windows.empty())
    fail(ErrorCode::kFormat, "the text is too short: nothing to score in windows of {} tokens",
         options.context);
  return windows;
}

std::vector<std::size_t> clusters_of(std::span<const Window> windows) {
  constexpr std::size_t kManyDocuments = 30;
  std::vector<std::size_t> clusters(windows.size());
  for (std::size_t i = 0; i < windows.size(); ++i) clusters[i] = windows[i].document;
  std::vector<std::size_t> distinct = clusters;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.size() < kManyDocuments)
    for (std::size_t i = 0; i < windows.size(); ++i) clusters[i] = i;
  return clusters;
}

}  // namespace talpa
