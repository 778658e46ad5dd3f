#pragma once

#include <functional>
#include <string>
#include <vector>

#include "talpa/serve/http.h"
#include "talpa/serve/served_text.h"

namespace talpa::serve {

/// What /v1/embeddings needs of a model, whatever makes its vectors.
struct EmbeddingSource {
  const ServedText& text;
  std::string model_name;
  int vocab_size = 0;  ///< ids that a request may name
  int dim = 0;
  /// A vector for each text. Throws ApiError (499) when the client went away meanwhile.
  std::function<std::vector<std::vector<float>>(std::vector<std::vector<TokenId>> texts,
                                                const HttpRequest& http)>
      embed;
};

/// POST /v1/embeddings
HttpReply answer_embeddings(const EmbeddingSource& source, const HttpRequest& http);

}  // namespace talpa::serve
