// Embeddings of a decoder, through the scheduler that completions share.
#include "talpa/serve/embeddings.h"
#include "talpa/serve/service.h"

namespace talpa::serve {

namespace {

constexpr std::chrono::milliseconds kEmbeddingPatience{100};

/// What becomes of requests; whoever leaves before the end cancels them.
class PendingEmbeddings {
 public:
  PendingEmbeddings(Scheduler& scheduler, std::vector<CompletionRequest> requests)
      : vectors_(requests.size()), completions_(scheduler.submit(std::move(requests))) {}
  ~PendingEmbeddings() {
    if (!completions_->finished()) completions_->cancel();
  }
  PendingEmbeddings(const PendingEmbeddings&) = delete;
  PendingEmbeddings& operator=(const PendingEmbeddings&) = delete;

  std::vector<std::vector<float>> wait(const HttpRequest& http) {
    while (!completions_->finished()) {
      auto event = completions_->next(kEmbeddingPatience);
      if (http.client_gone()) throw ApiError(499, "the client went away");
      if (!event) continue;
      if (!event->error.empty()) throw ApiError(500, event->error);
      if (event->finish == FinishReason::kCancelled)
        throw Draining(ErrorCode::kInterrupted, "the server is shutting down");
      vectors_[event->index] = std::move(event->embedding);
    }
    return std::move(vectors_);
  }

 private:
  std::vector<std::vector<float>> vectors_;
  std::shared_ptr<Completions> completions_;
};

/// No more at once than run at once: the queue stays free for others.
std::vector<std::vector<float>> embed(Service& service, std::vector<std::vector<TokenId>> texts,
                                      const HttpRequest& http) {
  const auto most = static_cast<std::size_t>(
      std::min(service.options.scheduler.parallel, service.options.scheduler.queue));
  std::vector<std::vector<float>> vectors;
  while (vectors.size() < texts.size()) {
    std::vector<CompletionRequest> requests;
    for (std::size_t i = vectors.size(); i < texts.size() && requests.size() < most; ++i)
      requests.push_back(
          {.prompt = std::move(texts[i]), .generate = {.max_tokens = 0}, .embed = true});
    for (auto& vector : PendingEmbeddings(service.scheduler, std::move(requests)).wait(http))
      vectors.push_back(std::move(vector));
  }
  return vectors;
}

}  // namespace

HttpReply answer_embeddings(Service& service, const HttpRequest& http) {
  const EmbeddingSource source{
      .text = service.text,
      .model_name = service.options.model_name,
      .vocab_size = service.vocab_size(),
      .dim = service.loaded.model->config().dim,
      .embed = [&](std::vector<std::vector<TokenId>> texts, const HttpRequest& request) {
        return embed(service, std::move(texts), request);
      }};
  return answer_embeddings(source, http);
}

}  // namespace talpa::serve
