// POST /v1/completions
#include "talpa/serve/answer.h"
#include "talpa/serve/token_text.h"

namespace talpa::serve {

namespace {

struct CompletionBody : SamplingBody {
  OrderedJson prompt;
  std::optional<int> logprobs;
  bool echo = false;
  std::optional<int> best_of;
  std::optional<std::string> suffix;

  static constexpr auto fields() {
    using C = CompletionBody;
    return std::tuple_cat(
        fields_of<C>(),
        std::tuple{field("prompt", &C::prompt, "a string, token ids, or a list of either"),
                   field("logprobs", &C::logprobs, "tell those of so many of the most likely"),
                   field("echo", &C::echo, "begin the text with the prompt"),
                   field("best_of", &C::best_of, "as n"),
                   field("suffix", &C::suffix, "not supported")});
  }
};

struct Prompt {
  std::string text;
  std::vector<TokenId> tokens;
};

Prompt prompt_of(const Service& service, const OrderedJson& json) {
  if (json.is_string()) {
    const auto text = json.get<std::string>();
    service.check_text(text.size());
    return {text, service.tokenizer().encode(text)};
  }
  if (!json.is_array()) fail_field("prompt", "expected a string or a list of token ids");
  Prompt prompt;
  for (const auto& id : json) {
    if (!id.is_number_integer() || id < 0 || id >= service.vocab_size())
      fail_field("prompt", "expected token ids below {}, got {}", service.vocab_size(),
                 text_of(Json(id)).substr(0, 40));
    prompt.tokens.push_back(id.get<TokenId>());
  }
  return prompt;
}

std::vector<Prompt> prompts_of(const Service& service, const OrderedJson& json) {
  std::vector<Prompt> prompts;
  const bool list = json.is_array() && !json.empty() && !json[0].is_number();
  if (list) {
    const auto most = static_cast<std::size_t>(service.options.scheduler.queue);
    if (json.size() > most) fail_field("prompt", "expected at most {} prompts", most);
    for (const auto& item : json) prompts.push_back(prompt_of(service, item));
  } else {
    prompts.push_back(prompt_of(service, json));
  }
  for (const Prompt& prompt : prompts)
    if (prompt.tokens.empty()) fail_field("prompt", "it is empty: there is nothing to continue");
  return prompts;
}

class CompletionFormat : public AnswerFormat {
 public:
  /// `echoed`: what the text of each choice begins with.
  CompletionFormat(const Service& service, const CompletionBody& body,
                   std::vector<std::string> echoed)
      : AnswerFormat(service, "cmpl"),
        logprobs_(body.logprobs.has_value()),
        echoed_(std::move(echoed)),
        offsets_(echoed_.size()) {}

  Json choice(const CompletionEvent& event) override { return part(event); }
  Json part(const CompletionEvent& event) override {
    const std::string begin = std::exchange(echoed_[event.index], {});
    Json json = {{"index", event.index},
                 {"text", begin + event.text},
                 {"logprobs", Json()},
                 {"finish_reason", finish_name(event)}};
    if (logprobs_) json["logprobs"] = logprobs_of(event);
    return json;
  }
  const char* whole_object() const override { return "text_completion"; }
  const char* part_object() const override { return "text_completion"; }

 private:
  Json logprobs_of(const CompletionEvent& event) {
    std::vector<TokenLogprob> scores = event.prompt;
    scores.insert(scores.end(), event.tokens.begin(), event.tokens.end());
    return completion_logprobs(service_.tokenizer(), scores, !event.prompt.empty(),
                               offsets_[event.index]);
  }

  bool logprobs_;
  std::vector<std::string> echoed_;
  std::vector<std::size_t> offsets_;  ///< characters told of each choice
};

void check(const CompletionBody& body) {
  if (body.logprobs) check_num_top("logprobs", *body.logprobs);
  if (body.suffix && !body.suffix->empty()) fail_field("suffix", "is not supported");
  if (body.best_of && *body.best_of != body.n)
    fail_field("best_of", "only the value of n is supported");
}

}  // namespace

HttpReply answer_completion(Service& service, const HttpRequest& http) {
  const auto body = request_of<CompletionBody>(http.body);
  check(body);
  CompletionRequest request{.generate = generate_options(body, service.vocab_size()),
                            .logprobs = body.logprobs,
                            .score_prompt = body.echo && body.logprobs};
  if (wants_json(body)) request.generate.json = service.json_tokens();
  std::vector<CompletionRequest> requests;
  std::vector<std::string> echoed;
  std::vector<Prompt> prompts = prompts_of(service, body.prompt);
  const auto most = static_cast<std::size_t>(service.options.scheduler.queue);
  if (prompts.size() * static_cast<std::size_t>(body.n) > most)
    fail_field("n", "{} prompts times {} are more than the {} that may wait", prompts.size(),
               body.n, most);
  for (Prompt& prompt : prompts) {
    request.generate.max_tokens = max_tokens_of(service, body.max_tokens, 16, prompt.tokens.size());
    if (body.echo && prompt.text.empty())
      prompt.text = service.tokenizer().decode(prompt.tokens, false);
    request.prompt = std::move(prompt.tokens);
    for (CompletionRequest& copy : copies_of(request, body.n)) {
      requests.push_back(std::move(copy));
      echoed.push_back(body.echo ? prompt.text : std::string());
    }
  }
  auto format = std::make_unique<CompletionFormat>(service, body, std::move(echoed));
  return answer(service, std::move(requests), std::move(format), body, http);
}

}  // namespace talpa::serve
