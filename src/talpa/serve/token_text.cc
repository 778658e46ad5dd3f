#include "talpa/serve/token_text.h"

#include "talpa/text/token_bytes.h"
#include "talpa/text/unicode.h"

namespace talpa::serve {

namespace {

std::size_t num_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string shown_text(const std::string& bytes) {
  if (text::is_valid_utf8(bytes)) return bytes;
  std::string shown = "bytes:";
  for (const char c : bytes) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return shown;
}

/// {"text": number}, the token itself included.
Json best_by_text(const Tokenizer& tokenizer, const TokenLogprob& score) {
  Json best = Json::object();
  auto add = [&](TokenId token, float logprob) {
    Json& value = best[token_text(tokenizer, token)];
    if (value.is_null() || value.get<float>() < logprob) value = logprob;
  };
  for (const auto& [token, logprob] : score.top) add(token, logprob);
  add(score.token, score.logprob);
  return best;
}

Json chat_entry(const Tokenizer& tokenizer, TokenId token, float logprob) {
  const std::string bytes = token_bytes(tokenizer, token);
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return {{"token", token_text(tokenizer, token)}, {"logprob", logprob}, {"bytes", list}};
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, TokenId token) {
  return shown_text(token_bytes(tokenizer, token));
}

Json completion_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprob> scores,
                         bool begins_with_prompt, std::size_t& text_offset) {
  Json tokens = Json::array(), logprobs = Json::array(), top = Json::array(),
       offsets = Json::array();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool first = begins_with_prompt && i == 0;
    // The first token of a text may lose its space; behind another it keeps it.
    const TokenId token = scores[i].token;
    std::string bytes = token_bytes(tokenizer, token);
    if (first && !bytes.empty()) bytes = tokenizer.decode({&token, 1}, false);
    tokens.push_back(shown_text(bytes));
    logprobs.push_back(first ? Json() : Json(scores[i].logprob));
    top.push_back(first ? Json() : best_by_text(tokenizer, scores[i]));
    offsets.push_back(text_offset);
    text_offset += num_characters(bytes);
  }
  return {{"tokens", tokens},
          {"token_logprobs", logprobs},
          {"top_logprobs", top},
          {"text_offset", offsets}};
}

Json chat_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprob> scores) {
  Json content = Json::array();
  for (const TokenLogprob& score : scores) {
    Json entry = chat_entry(tokenizer, score.token, score.logprob);
    entry["top_logprobs"] = Json::array();
    for (const auto& [token, logprob] : score.top)
      entry["top_logprobs"].push_back(chat_entry(tokenizer, token, logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", content}};
}

}  // namespace talpa::serve
