#include "talpa/eval/corpus.h"

#include <cstring>

#include "talpa/base/file.h"

namespace talpa {

namespace {

TextDocument parse_line(std::string_view line, const std::string& source) {
  const Json json = parse_json(line, source);
  if (!json.is_object() || !json.contains("text") || !json.at("text").is_string())
    fail(ErrorCode::kFormat, "{}: expected an object with a string `text`", source);
  TextDocument document{.text = json.at("text").get<std::string>()};
  if (json.contains("domain")) {
    if (!json.at("domain").is_string())
      fail(ErrorCode::kFormat, "{}: `domain` is not a string", source);
    document.domain = json.at("domain").get<std::string>();
  }
  return document;
}

std::vector<TextDocument> parse_lines(std::string_view text, const std::string& path) {
  std::vector<TextDocument> documents;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      documents.push_back(parse_line(line, fmt::format("{}:{}", path, number)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return documents;
}

template <class Id>
std::vector<TokenId> read_ids(std::span<const std::byte> bytes, std::int64_t count, int vocab_size,
                              const std::string& path) {
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Id id;
    std::memcpy(&id, bytes.data() + i * sizeof(Id), sizeof(Id));
    if (std::cmp_greater_equal(id, vocab_size))
      fail(ErrorCode::kFormat, "{}: id {} at byte {} is not below the vocabulary's {}", path, id,
           i * sizeof(Id), vocab_size);
    ids[i] = static_cast<TokenId>(id);
  }
  return ids;
}

}  // namespace

std::vector<TextDocument> read_documents(const std::filesystem::path& path) {
  std::string text = read_text(path);
  std::vector<TextDocument> documents;
  if (path.extension() == ".jsonl")
    documents = parse_lines(text, path.string());
  else
    documents.push_back({.text = std::move(text)});
  std::erase_if(documents, [](const TextDocument& document) { return document.text.empty(); });
  if (documents.empty()) fail(ErrorCode::kFormat, "{}: there is no text in it", path.string());
  return documents;
}

std::vector<TokenDocument> tokenize_documents(const std::vector<TextDocument>& documents,
                                              const Tokenizer& tokenizer,
                                              const CorpusOptions& options) {
  std::vector<TokenDocument> result;
  std::int64_t total = 0;
  for (const TextDocument& text : documents) {
    if (options.max_tokens > 0 && total >= options.max_tokens) break;
    TokenDocument document{.domain = text.domain,
                           .tokens = tokenizer.encode(text.text, false, false),
                           .bytes = text.text.size()};
    if (document.tokens.empty()) continue;
    const auto left = static_cast<std::size_t>(options.max_tokens - total);
    if (options.max_tokens > 0 && document.tokens.size() > left) {
      document.tokens.resize(left);
      document.bytes = tokenizer.decode(document.tokens, false).size();
    }
    total += static_cast<std::int64_t>(document.tokens.size());
    if (options.start_token >= 0) {
      document.tokens.insert(document.tokens.begin(), options.start_token);
      document.has_start_token = true;
    }
    result.push_back(std::move(document));
  }
  return result;
}

TokenDocument read_token_ids(const std::filesystem::path& path, int vocab_size,
                             std::int64_t max_tokens) {
  const std::string ending = path.extension().string();
  if (ending != ".u16" && ending != ".u32")
    fail(ErrorCode::kFormat, "{}: files of ids end in .u16 or .u32", path.string());
  const MappedFile file(path);
  const std::size_t width = ending == ".u16" ? 2 : 4;
  if (file.bytes().empty() || file.bytes().size() % width != 0)
    fail(ErrorCode::kFormat, "{}: {} bytes are not a whole, positive number of {}-byte ids",
         path.string(), file.bytes().size(), width);
  auto count = static_cast<std::int64_t>(file.bytes().size() / width);
  if (max_tokens > 0) count = std::min(count, max_tokens);
  TokenDocument document;
  document.tokens = width == 2
                        ? read_ids<std::uint16_t>(file.bytes(), count, vocab_size, path.string())
                        : read_ids<std::uint32_t>(file.bytes(), count, vocab_size, path.string());
  return document;
}

std::uint64_t bytes_of_token(const Tokenizer& tokenizer, TokenId previous, TokenId token) {
  const TokenId pair[] = {previous, token};
  const std::size_t both = tokenizer.decode(pair, false).size();
  return both - std::min(both, tokenizer.decode(std::span(pair, 1), false).size());
}

}  // namespace talpa
