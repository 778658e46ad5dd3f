// The endpoints of an encoder: vectors of texts, and no text.
#include "talpa/base/error.h"
#include "talpa/serve/api_error.h"
#include "talpa/serve/encoder_service.h"
#include "talpa/serve/service.h"

namespace talpa::serve {

namespace {

HttpReply encoder_health(const EncoderService& service) {
  if (service.draining()) throw Draining(ErrorCode::kInterrupted, "shutting down");
  return {.body = text_of({{"status", "ok"}})};
}

Json encoder_json(const EncoderService& service) {
  const EncoderConfig& config = service.loaded.files.config;
  return {{"id", service.options.model_name},
          {"object", "model"},
          {"created", service.created},
          {"owned_by", "talpa"},
          {"max_model_len", service.text.context},
          {"meta",
           {{"vocab_size", config.vocab_size},
            {"num_layers", config.num_layers},
            {"embedding_dim", config.dim},
            {"pooling", enum_name(config.pooling)},
            {"weight_bytes", service.loaded.encoder->weight_bytes()}}}};
}

HttpReply encoder_embeddings(EncoderService& service, const HttpRequest& http) {
  const EncoderConfig& config = service.loaded.files.config;
  const EmbeddingSource source{
      .text = service.text,
      .model_name = service.options.model_name,
      .vocab_size = std::min(config.vocab_size, service.loaded.tokenizer->vocab_size()),
      .dim = config.dim,
      .embed = [&](std::vector<std::vector<TokenId>> texts, const HttpRequest& request) {
        return service.embed(texts, request);
      }};
  return answer_embeddings(source, http);
}

[[noreturn]] HttpReply refuse_text(const EncoderService& service) {
  ApiError error(400, fmt::format("{} is an encoder: it answers /v1/embeddings and makes no text",
                                  service.options.model_name));
  error.code = "model_not_supported";
  throw error;
}

}  // namespace

std::vector<Route> routes_of(EncoderService& service) {
  EncoderService* s = &service;
  using R = const HttpRequest&;
  return {
      {"GET", "/health", [s](R) { return encoder_health(*s); }, false},
      {"GET", "/v1/health", [s](R) { return encoder_health(*s); }, false},
      {"GET", "/v1/models",
       [s](R) {
         return HttpReply{.body = text_of({{"object", "list"}, {"data", {encoder_json(*s)}}})};
       }},
      {"GET", "/v1/models/" + service.options.model_name,
       [s](R) { return HttpReply{.body = text_of(encoder_json(*s))}; }},
      {"POST", "/v1/embeddings", [s](R r) { return encoder_embeddings(*s, r); }},
      {"POST", "/v1/completions", [s](R) { return refuse_text(*s); }},
      {"POST", "/v1/chat/completions", [s](R) { return refuse_text(*s); }},
      {"POST", "/tokenize", [s](R r) { return answer_tokenize(s->text, r); }},
      {"POST", "/detokenize", [s](R r) { return answer_detokenize(s->text, r); }},
      {"GET", "/metrics",
       [s](R) {
         return HttpReply{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = s->metrics.text(s->stats())};
       }},
  };
}

}  // namespace talpa::serve
