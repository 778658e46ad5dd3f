// POST /v1/chat/completions
#include "talpa/chat/chat_prompt.h"
#include "talpa/serve/answer.h"
#include "talpa/serve/token_text.h"

namespace talpa::serve {

namespace {

struct ChatBody : SamplingBody {
  OrderedJson messages;
  OrderedJson tools;
  OrderedJson chat_template_kwargs;
  std::optional<std::int64_t> max_completion_tokens;
  bool add_generation_prompt = true;
  bool logprobs = false;
  int top_logprobs = 0;

  static constexpr auto fields() {
    using C = ChatBody;
    return std::tuple_cat(
        fields_of<C>(),
        std::tuple{field("messages", &C::messages, "what was said: role, content"),
                   field("tools", &C::tools, "definitions of tools, for the template"),
                   field("chat_template_kwargs", &C::chat_template_kwargs, "for the template"),
                   field("max_completion_tokens", &C::max_completion_tokens, "as max_tokens"),
                   field("add_generation_prompt", &C::add_generation_prompt, "for the template"),
                   field("logprobs", &C::logprobs, "tell those of the tokens"),
                   field("top_logprobs", &C::top_logprobs, "and of so many of the most likely")});
  }
};

/// Parts of text as one text, which is what templates expect.
std::string joined_parts(const OrderedJson& parts) {
  std::string text;
  for (const auto& part : parts) {
    if (!part.is_object() || !part.contains("type") || part["type"] != "text" ||
        !part.contains("text") || !part["text"].is_string())
      fail_field("messages", "parts of a message must be {{\"type\": \"text\", \"text\": ...}}");
    text += part["text"].get<std::string>();
  }
  return text;
}

void check_messages(OrderedJson& messages) {
  if (!messages.is_array() || messages.empty())
    fail_field("messages", "expected a list of messages, not empty");
  for (auto& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      fail_field("messages", "each must be an object with a role, a string");
    if (!message.contains("content")) message["content"] = nullptr;
    auto& content = message["content"];
    if (content.is_array()) content = joined_parts(content);
    if (!content.is_string() && !content.is_null())
      fail_field("messages", "content must be a string, a list of parts or null");
  }
}

void check(ChatBody& body) {
  check_messages(body.messages);
  if (!body.tools.is_null() && !body.tools.is_array()) fail_field("tools", "expected a list");
  if (!body.chat_template_kwargs.is_null() && !body.chat_template_kwargs.is_object())
    fail_field("chat_template_kwargs", "expected an object");
  for (const char* name : {"messages", "tools", "bos_token", "eos_token"})
    if (body.chat_template_kwargs.is_object() && body.chat_template_kwargs.contains(name))
      fail_field("chat_template_kwargs", "{} is not the template's to take from here", name);
  check_num_top("top_logprobs", body.top_logprobs);
  if (body.top_logprobs > 0 && !body.logprobs)
    fail_field("top_logprobs", "needs logprobs to be true");
  if (body.max_completion_tokens) body.max_tokens = body.max_completion_tokens;
}

std::vector<TokenId> prompt_of(const Service& service, const ChatBody& body) {
  if (!service.chat)
    throw ApiError(400, "the model has no chat template; the server takes --chat-template FILE");
  chat::ChatOptions options = service.chat->options;
  options.tools = body.tools;
  options.add_generation_prompt = body.add_generation_prompt;
  if (body.chat_template_kwargs.is_object()) options.extra = body.chat_template_kwargs;
  options.max_steps = std::size_t{1} << 26;
  service.check_text(body.messages.dump().size() + body.tools.dump().size() +
                     body.chat_template_kwargs.dump().size());
  try {
    auto tokens =
        chat::chat_prompt(service.chat->chat_template, service.tokenizer(), body.messages, options);
    if (tokens.empty()) fail_field("messages", "the template makes an empty prompt of them");
    return tokens;
  } catch (const Error& error) {
    fail_field("messages", "the chat template: {}", error.what());
  }
}

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(const Service& service, bool logprobs)
      : AnswerFormat(service, "chatcmpl"), logprobs_(logprobs) {}

  Json choice(const CompletionEvent& event) override {
    Json message = {{"role", "assistant"}, {"content", event.text}, {"refusal", Json()}};
    return worded(event, "message", std::move(message));
  }
  Json part(const CompletionEvent& event) override {
    Json delta = Json::object();
    if (!event.text.empty()) delta["content"] = event.text;
    return worded(event, "delta", std::move(delta));
  }
  Json opening(std::size_t index) override {
    return {{"index", index},
            {"delta", {{"role", "assistant"}, {"content", ""}}},
            {"logprobs", Json()},
            {"finish_reason", Json()}};
  }
  const char* whole_object() const override { return "chat.completion"; }
  const char* part_object() const override { return "chat.completion.chunk"; }

 private:
  Json worded(const CompletionEvent& event, const char* key, Json text) const {
    return {{"index", event.index},
            {key, std::move(text)},
            {"logprobs", logprobs_ ? chat_logprobs(service_.tokenizer(), event.tokens) : Json()},
            {"finish_reason", finish_name(event)}};
  }

  bool logprobs_;
};

}  // namespace

HttpReply answer_chat(Service& service, const HttpRequest& http) {
  auto body = request_of<ChatBody>(http.body);
  check(body);
  CompletionRequest request{.generate = generate_options(body, service.vocab_size())};
  request.prompt = prompt_of(service, body);
  request.generate.max_tokens = max_tokens_of(service, body.max_tokens, 0, request.prompt.size());
  if (wants_json(body)) request.generate.json = service.json_tokens();
  if (body.logprobs) request.logprobs = body.top_logprobs;
  return answer(service, copies_of(request, body.n),
                std::make_unique<ChatFormat>(service, body.logprobs), body, http);
}

}  // namespace talpa::serve
