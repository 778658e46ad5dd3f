#include "talpa/cli/laboratory/sequences.h"

#include "talpa/cli/model_options.h"
#include "talpa/eval/perplexity.h"

namespace talpa::cli {

std::vector<convert::TokenSequence> sequences_of(const std::string& text, bool ids, int context,
                                                 const std::string& model,
                                                 const DecoderConfig& config) {
  std::vector<TokenDocument> documents;
  if (ids) {
    documents.push_back(read_token_ids(text, config.vocab_size));
  } else {
    const auto tokenizer = open_tokenizer(model);
    documents = tokenize_documents(read_documents(text), *tokenizer,
                                   {.start_token = start_token_of(config, tokenizer.get())});
  }
  std::vector<convert::TokenSequence> sequences;
  for (Window& window : make_windows(documents, {.context = context}))
    sequences.push_back(std::move(window.tokens));
  return sequences;
}

}  // namespace talpa::cli
