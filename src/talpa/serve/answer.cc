#include "talpa/serve/answer.h"

#include <random>

namespace talpa::serve {

namespace {

constexpr const char* kEnding = "the server is shutting down";
constexpr std::chrono::milliseconds kPatience{100};

/// Sums of what the choices of a call took. A prompt counts once, whatever its number of answers.
struct Totals {
  int prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double first_token_seconds = 0, seconds = 0;

  void add(const CompletionUsage& usage, bool first_of_prompt) {
    if (first_of_prompt) prompt_tokens += usage.prompt_tokens;
    if (first_of_prompt) cached_tokens += usage.cached_tokens;
    generated_tokens += usage.generated_tokens;
    first_token_seconds = std::max(first_token_seconds, usage.first_token_seconds);
    seconds = std::max(seconds, usage.seconds);
  }
  Json json() const {
    return {{"prompt_tokens", prompt_tokens},
            {"completion_tokens", generated_tokens},
            {"total_tokens", prompt_tokens + generated_tokens},
            {"prompt_tokens_details", {{"cached_tokens", cached_tokens}}}};
  }
  std::string note() const {
    return fmt::format(" prompt_tokens={} cached_tokens={} generated_tokens={} first_token={:.4f}",
                       prompt_tokens, cached_tokens, generated_tokens, first_token_seconds);
  }
};

/// The completions of a call; whoever lets go of it before the end cancels them.
class Call {
 public:
  Call(Service& service, std::vector<CompletionRequest> requests,
       std::unique_ptr<AnswerFormat> format, const SamplingBody& body)
      : service_(service),
        size_(requests.size()),
        copies_(static_cast<std::size_t>(body.n)),
        include_usage_(body.stream_options.include_usage),
        completions_(service.scheduler.submit(std::move(requests))),
        format_(std::move(format)) {}
  ~Call() {
    if (!completions_->finished()) completions_->cancel();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Json whole(const HttpRequest& http);
  std::optional<std::string> next_part();
  std::string note() const { return totals_.note(); }

 private:
  void count(const CompletionEvent& event);
  std::string part_of(const CompletionEvent& event);
  std::string sent(Json choice) const;
  std::optional<std::string> ending();

  Service& service_;
  std::size_t size_, copies_;
  bool include_usage_;
  std::shared_ptr<Completions> completions_;
  std::unique_ptr<AnswerFormat> format_;
  Totals totals_;
  bool opened_ = false, failed_ = false, ended_ = false;
};

void Call::count(const CompletionEvent& event) {
  if (!event.is_last()) return;
  totals_.add(event.usage, event.index % copies_ == 0);
  if (event.error.empty()) service_.metrics.add_completion(event.usage);
}

void append(std::vector<TokenLogprob>& to, std::vector<TokenLogprob>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

Json Call::whole(const HttpRequest& http) {
  std::vector<CompletionEvent> choices(size_);
  while (!completions_->finished()) {
    auto event = completions_->next(kPatience);
    if (http.client_gone()) throw ApiError(499, "the client went away");
    if (!event) continue;
    count(*event);
    if (!event->error.empty()) throw ApiError(500, event->error);
    if (event->finish == FinishReason::kCancelled) throw Draining(ErrorCode::kInterrupted, kEnding);
    CompletionEvent& choice = choices[event->index];
    choice.index = event->index;
    choice.text += event->text;
    append(choice.prompt, event->prompt);
    append(choice.tokens, event->tokens);
    choice.finish = event->finish;
  }
  Json list = Json::array();
  for (const CompletionEvent& choice : choices) list.push_back(format_->choice(choice));
  Json json = format_->envelope(format_->whole_object(), std::move(list));
  json["usage"] = totals_.json();
  return json;
}

std::string Call::sent(Json choice) const {
  Json json = format_->envelope(format_->part_object(), Json::array({std::move(choice)}));
  if (include_usage_) json["usage"] = Json();
  return "data: " + text_of(json) + "\n\n";
}

std::string Call::part_of(const CompletionEvent& event) {
  const bool dropped = event.finish == FinishReason::kCancelled;
  if (event.error.empty() && !dropped) return sent(format_->part(event));
  failed_ = true;
  ApiError error(dropped ? 503 : 500, dropped ? kEnding : event.error);
  error.type = "server_error";
  return "data: " + text_of(error.json()) + "\n\n";
}

std::optional<std::string> Call::next_part() {
  if (ended_) return std::nullopt;
  if (failed_ || completions_->finished()) return ending();
  std::string text;
  auto event = completions_->next(kPatience);
  if (event && !opened_) {
    opened_ = true;
    for (std::size_t i = 0; i < size_; ++i)
      if (Json opening = format_->opening(i); !opening.is_null()) text += sent(std::move(opening));
  }
  for (; event && !failed_; event = completions_->next(std::chrono::milliseconds(0))) {
    count(*event);
    text += part_of(*event);
  }
  return text;
}

std::optional<std::string> Call::ending() {
  ended_ = true;
  if (failed_) return std::nullopt;
  std::string text;
  if (include_usage_) {
    Json json = format_->envelope(format_->part_object(), Json::array());
    json["usage"] = totals_.json();
    text = "data: " + text_of(json) + "\n\n";
  }
  return text + "data: [DONE]\n\n";
}

}  // namespace

AnswerFormat::AnswerFormat(const Service& service, const char* prefix)
    : service_(service), created_(std::time(nullptr)) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  id_ = fmt::format("{}-{:016x}", prefix, random());
}

Json AnswerFormat::envelope(const char* object, Json choices) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", service_.options.model_name},
          {"choices", std::move(choices)}};
}

Json finish_name(const CompletionEvent& event) {
  if (!event.finish) return {};
  return *event.finish == FinishReason::kStop ? "stop" : "length";
}

HttpReply answer(Service& service, std::vector<CompletionRequest> requests,
                 std::unique_ptr<AnswerFormat> format, const SamplingBody& body,
                 const HttpRequest& http) {
  const auto call = std::make_shared<Call>(service, std::move(requests), std::move(format), body);
  HttpReply reply{.note = [call] { return call->note(); }};
  if (body.stream) {
    reply.content_type = "text/event-stream";
    reply.headers.emplace_back("Cache-Control", "no-cache");
    reply.next_part = [call] { return call->next_part(); };
  } else {
    reply.body = text_of(call->whole(http));
  }
  return reply;
}

int max_tokens_of(const Service& service, std::optional<std::int64_t> asked, int otherwise,
                  std::size_t num_prompt) {
  const std::int64_t context = service.scheduler.context();
  const auto prompt = static_cast<std::int64_t>(num_prompt);
  const std::int64_t left = context - prompt;
  if (asked && *asked < 0) fail_field("max_tokens", "expected a count, got {}", *asked);
  std::int64_t wanted = asked.value_or(otherwise);
  if (!asked) {
    if (service.options.max_tokens_default > 0) wanted = service.options.max_tokens_default;
    wanted = wanted > 0 ? std::min(wanted, left) : left;
  }
  if (prompt <= context && wanted <= left && (left > 0 || asked)) return static_cast<int>(wanted);
  ApiError error(
      400, fmt::format("the context is {} tokens: the prompt has {}, and {} are asked for", context,
                       num_prompt, asked.value_or(1)));
  error.code = "context_length_exceeded";
  throw error;
}

}  // namespace talpa::serve
