#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>

#include "talpa/chat/chat_template.h"
#include "talpa/engine/scheduler.h"
#include "talpa/serve/http.h"
#include "talpa/serve/metrics.h"
#include "talpa/serve/served_text.h"

namespace talpa::serve {

/// A chat template with its source and the tokens it writes.
struct ServedTemplate {
  std::string source;
  chat::ChatTemplate chat_template;
  chat::ChatOptions options;
};

struct ServiceOptions {
  std::string model_name;
  int max_tokens_default = 0;  ///< 0 = as OpenAI: 16 of completions, all that fit of chats
  SchedulerOptions scheduler;
};

/// A model behind the endpoints: what they all need.
struct Service {
  /// The model must have a tokenizer; it outlives the service. Without a template there are no
  /// chats.
  Service(const LoadedModel& loaded, ServiceOptions options, std::optional<ServedTemplate> chat);

  const Tokenizer& tokenizer() const { return *loaded.tokenizer; }
  /// Ids that a request may name: those that have a token, and logits.
  int vocab_size() const {
    return std::min(loaded.model->config().vocab_size, static_cast<int>(tokenizer().vocab_size()));
  }
  void check_text(std::size_t bytes) const { text.check(bytes); }
  /// For texts that must be JSON; made at its first use.
  std::shared_ptr<const JsonTokens> json_tokens();

  const LoadedModel& loaded;
  ServiceOptions options;
  std::optional<ServedTemplate> chat;
  Metrics metrics;
  std::int64_t created;  ///< seconds since 1970
  Scheduler scheduler;
  ServedText text;

 private:
  std::once_flag json_made_;
  std::shared_ptr<const JsonTokens> json_;
};

/// Every endpoint.
std::vector<Route> routes_of(Service& service);

HttpReply answer_completion(Service& service, const HttpRequest& request);
HttpReply answer_chat(Service& service, const HttpRequest& request);
HttpReply answer_embeddings(Service& service, const HttpRequest& request);
HttpReply answer_tokenize(const ServedText& text, const HttpRequest& request);
HttpReply answer_detokenize(const ServedText& text, const HttpRequest& request);
HttpReply answer_tokenizer_info(const Service& service);

}  // namespace talpa::serve
