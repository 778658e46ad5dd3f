#include "talpa/cli/text_options.h"

#include "talpa/cli/model_options.h"

namespace talpa::cli {

namespace {
constexpr const char* kTextGroup = "Text";
}

void add_text_options(CLI::App& app, TextOptions& options, const char* file_option, bool required) {
  app.add_option(file_option, options.file, "Plain text, JSONL with text and domain, or ids")
      ->type_name("FILE")
      ->required(required)
      ->group(kTextGroup);
  app.add_flag("--ids", options.ids, "FILE holds raw little-endian ids, .u16 or .u32")
      ->group(kTextGroup);
  app.add_option("-c,--context", options.windows.context, "Tokens a window")
      ->type_name("N")
      ->group(kTextGroup);
  app.add_option("--stride", options.windows.stride,
                 "Tokens from window to window, 0 = context; each token is scored once")
      ->type_name("N")
      ->group(kTextGroup);
  app.add_option("--max-tokens", options.max_tokens, "Use the first N tokens, 0 = all")
      ->check(no_negative_number())
      ->type_name("N")
      ->group(kTextGroup);
  app.add_option("--convention", options.convention,
                 "llama.cpp: score the second half of each window, as llama-perplexity does")
      ->check(CLI::IsMember({"talpa", "llama.cpp"}))
      ->group(kTextGroup);
  app.add_option("--batch", options.batch, "Windows fed together")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->group(kTextGroup);
}

ScoringText scoring_text(const TextOptions& options, const LoadedModel& loaded) {
  WindowOptions windows = options.windows;
  read_config(Json(options.convention), windows.convention, "convention");
  windows.validate();
  const Tokenizer* tokenizer = loaded.tokenizer.get();
  std::vector<TokenDocument> documents;
  if (options.ids) {
    documents.push_back(
        read_token_ids(options.file, loaded.files.config.vocab_size, options.max_tokens));
    if (tokenizer != nullptr)
      documents[0].bytes = tokenizer->decode(documents[0].tokens, false).size();
  } else {
    CorpusOptions corpus{.max_tokens = options.max_tokens};
    if (windows.convention == WindowConvention::kTalpa)
      corpus.start_token = start_token_of(loaded.files.config, tokenizer);
    documents = tokenize_documents(read_documents(options.file), tokenizer_of(loaded), corpus);
  }
  if (windows.convention == WindowConvention::kLlamaCpp && tokenizer != nullptr)
    if (const auto added = tokenizer->encode("", true); !added.empty())
      windows.start_token = added.front();
  return prepare_scoring(documents, windows, tokenizer);
}

}  // namespace talpa::cli
