#pragma once

#include <memory>

#include "talpa/serve/sampling_body.h"
#include "talpa/serve/service.h"

namespace talpa::serve {

/// How an endpoint words its answers. One object for one call.
class AnswerFormat {
 public:
  AnswerFormat(const Service& service, const char* prefix);
  virtual ~AnswerFormat() = default;

  /// A choice of a whole answer, from an event that holds all of it.
  virtual Json choice(const CompletionEvent& event) = 0;
  /// A choice of a part of a stream.
  virtual Json part(const CompletionEvent& event) = 0;
  /// What the stream of a choice begins with; null for nothing.
  virtual Json opening(std::size_t) { return {}; }
  virtual const char* whole_object() const = 0;
  virtual const char* part_object() const = 0;

  /// The object around choices.
  Json envelope(const char* object, Json choices) const;

 protected:
  const Service& service_;

 private:
  std::string id_;
  std::int64_t created_;
};

/// "stop" or "length", null before the end.
Json finish_name(const CompletionEvent& event);

/// Carries requests out and words what comes of them, whole or as server-sent events. Ends them
/// when the client goes away.
HttpReply answer(Service& service, std::vector<CompletionRequest> requests,
                 std::unique_ptr<AnswerFormat> format, const SamplingBody& body,
                 const HttpRequest& http);

/// max_tokens of a request: as asked for, or the default, or what the context leaves. Throws
/// ApiError (context_length_exceeded) when it does not fit.
int max_tokens_of(const Service& service, std::optional<std::int64_t> asked, int otherwise,
                  std::size_t num_prompt);

}  // namespace talpa::serve
