#include <chrono>

#include "talpa/base/error.h"
#include "talpa/serve/api_error.h"
#include "talpa/serve/page.h"
#include "talpa/serve/service.h"

namespace talpa::serve {

namespace {

HttpReply answer_health(const Service& service) {
  if (service.scheduler.draining()) throw Draining(ErrorCode::kInterrupted, "shutting down");
  return {.body = text_of({{"status", "ok"}})};
}

Json model_json(const Service& service) {
  const DecoderConfig& config = service.loaded.model->config();
  return {{"id", service.options.model_name},
          {"object", "model"},
          {"created", service.created},
          {"owned_by", "talpa"},
          {"max_model_len", service.scheduler.context()},
          {"meta",
           {{"vocab_size", config.vocab_size},
            {"num_layers", config.num_layers},
            {"num_experts", config.moe.num_experts},
            {"has_chat_template", service.chat.has_value()},
            {"weight_bytes", service.loaded.model->weight_bytes()}}}};
}

HttpReply answer_models(const Service& service) {
  return {.body = text_of({{"object", "list"}, {"data", {model_json(service)}}})};
}

/// Tokens sent to each expert since the start, for the page.
HttpReply answer_experts(const Service& service) {
  const SchedulerStats stats = service.scheduler.stats();
  Json layers = Json::array();
  for (std::size_t i = 0; i < stats.routing.rows_per_expert.size(); ++i)
    if (!stats.routing.rows_per_expert[i].empty())
      layers.push_back({{"layer", i}, {"rows", stats.routing.rows_per_expert[i]}});
  return {.body = text_of({{"layers", layers}})};
}

HttpReply answer_page() {
  HttpReply reply{.content_type = "text/html; charset=utf-8", .body = std::string(chat_page())};
  reply.headers = {{"Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
                    "frame-ancestors 'none'"},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"}};
  return reply;
}

const LoadedModel& with_tokenizer(const LoadedModel& loaded) {
  if (!loaded.tokenizer)
    fail(ErrorCode::kNotFound, "{} has no tokenizer", loaded.files.path.string());
  return loaded;
}

}  // namespace

Service::Service(const LoadedModel& loaded_, ServiceOptions options_,
                 std::optional<ServedTemplate> chat_)
    : loaded(with_tokenizer(loaded_)),
      options(std::move(options_)),
      chat(std::move(chat_)),
      created(std::chrono::duration_cast<std::chrono::seconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()),
      scheduler(loaded, options.scheduler),
      text(tokenizer(), scheduler.context()) {}

std::shared_ptr<const JsonTokens> Service::json_tokens() {
  std::call_once(json_made_, [this] { json_ = std::make_shared<JsonTokens>(tokenizer()); });
  return json_;
}

std::vector<Route> routes_of(Service& service) {
  Service* s = &service;
  using R = const HttpRequest&;
  return {
      {"GET", "/", [](R) { return answer_page(); }, false},
      {"GET", "/health", [s](R) { return answer_health(*s); }, false},
      {"GET", "/v1/health", [s](R) { return answer_health(*s); }, false},
      {"GET", "/v1/models", [s](R) { return answer_models(*s); }},
      {"GET", "/v1/models/" + service.options.model_name,
       [s](R) { return HttpReply{.body = text_of(model_json(*s))}; }},
      {"POST", "/v1/completions", [s](R r) { return answer_completion(*s, r); }},
      {"POST", "/v1/chat/completions", [s](R r) { return answer_chat(*s, r); }},
      {"POST", "/v1/embeddings", [s](R r) { return answer_embeddings(*s, r); }},
      {"POST", "/tokenize", [s](R r) { return answer_tokenize(s->text, r); }},
      {"POST", "/detokenize", [s](R r) { return answer_detokenize(s->text, r); }},
      {"GET", "/tokenizer_info", [s](R) { return answer_tokenizer_info(*s); }},
      {"GET", "/experts", [s](R) { return answer_experts(*s); }},
      {"GET", "/metrics",
       [s](R) {
         return HttpReply{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = s->metrics.text(s->scheduler.stats())};
       }},
  };
}

}  // namespace talpa::serve
