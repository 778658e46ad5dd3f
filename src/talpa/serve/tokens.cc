// POST /tokenize, /detokenize and GET /tokenizer_info, in the form of vLLM's
#include "talpa/serve/request_json.h"
#include "talpa/serve/service.h"

namespace talpa::serve {

namespace {

struct TokenizeBody {
  std::optional<std::string> prompt;
  std::optional<std::string> content;  ///< llama.cpp's name of it
  bool add_special_tokens = true;

  static constexpr auto fields() {
    using C = TokenizeBody;
    return std::tuple{
        field("prompt", &C::prompt, "text"), field("content", &C::content, "the same"),
        field("add_special_tokens", &C::add_special_tokens, "the tokenizer's beginning and end")};
  }
};

struct DetokenizeBody {
  std::vector<TokenId> tokens;

  static constexpr auto fields() {
    return std::tuple{field("tokens", &DetokenizeBody::tokens, "ids")};
  }
};

}  // namespace

HttpReply answer_tokenize(const ServedText& served, const HttpRequest& http) {
  const auto body = request_of<TokenizeBody>(http.body);
  if (!body.prompt && !body.content) fail_field("prompt", "expected a string");
  const std::string& text = body.prompt ? *body.prompt : *body.content;
  served.check(text.size());
  const auto ids = served.tokenizer.encode(text, body.add_special_tokens);
  return {.body =
              text_of({{"tokens", ids}, {"count", ids.size()}, {"max_model_len", served.context}})};
}

HttpReply answer_detokenize(const ServedText& served, const HttpRequest& http) {
  const auto body = request_of<DetokenizeBody>(http.body);
  const auto most = static_cast<std::size_t>(served.context);
  if (body.tokens.size() > most) fail_field("tokens", "expected at most {}", most);
  for (const TokenId id : body.tokens)
    if (id < 0 || id >= served.tokenizer.vocab_size())
      fail_field("tokens", "{} is no token id below {}", id, served.tokenizer.vocab_size());
  const std::string text = served.tokenizer.decode(body.tokens, false);
  return {.body = text_of({{"prompt", text}, {"content", text}})};
}

HttpReply answer_tokenizer_info(const Service& service) {
  const DecoderConfig& config = service.loaded.model->config();
  Json info = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"vocab_size", service.tokenizer().vocab_size()},
               {"model_max_length", service.scheduler.context()},
               {"bos_token", Json()},
               {"eos_token", Json()},
               {"chat_template", service.chat ? Json(service.chat->source) : Json()}};
  auto name = [&](const char* key, TokenId id) {
    if (id >= 0 && id < service.tokenizer().vocab_size()) info[key] = service.tokenizer().token(id);
  };
  name("bos_token", config.bos_token);
  if (!config.eos_tokens.empty()) name("eos_token", config.eos_tokens.front());
  return {.body = text_of(info)};
}

}  // namespace talpa::serve
