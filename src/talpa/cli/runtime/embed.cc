#include <fmt/ranges.h>

#include "talpa/base/error.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/engine/embedding.h"
#include "talpa/engine/encoder.h"

namespace talpa::cli {

namespace {

struct EmbedOptions : CommonOptions, ModelOptions {
  std::vector<std::string> texts;
  std::string file;
  bool truncate = false;
};

/// A model of either kind, to be asked for vectors.
struct Embedder {
  std::shared_ptr<const Tokenizer> tokenizer;
  int context = 0;
  std::function<std::vector<std::vector<float>>(std::span<const std::vector<TokenId>>)> embed;
};

Embedder open_embedder(const EmbedOptions& options) {
  const EngineOptions engine = engine_options(options, options);
  if (is_encoder(options.model)) {
    const LoadedEncoder loaded = load_encoder(options.model, engine);
    return {loaded.tokenizer, loaded.files.config.max_positions,
            [encoder = loaded.encoder](auto texts) { return encoder->embed(texts); }};
  }
  const LoadedModel loaded = load_model(options.model, engine);
  tokenizer_of(loaded);
  return {loaded.tokenizer, loaded.model->config().max_positions,
          [model = loaded.model](auto texts) { return embed_texts(*model, texts); }};
}

/// The arguments, or the lines of a file or of standard input.
std::vector<std::string> texts_of(const EmbedOptions& options) {
  if (!options.texts.empty()) return options.texts;
  std::vector<std::string> lines;
  const std::string text = read_input(options.file.empty() ? "-" : options.file);
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    start = end + 1;
  }
  return lines;
}

std::vector<TokenId> tokens_of(const Embedder& embedder, const std::string& text,
                               std::size_t number, bool truncate) {
  std::vector<TokenId> tokens = embedder.tokenizer->encode(text);
  if (text.empty() || tokens.empty())
    fail(ErrorCode::kUsage, "text {} is empty: it has no embedding", number);
  const auto most = static_cast<std::size_t>(embedder.context);
  if (tokens.size() <= most) return tokens;
  if (!truncate)
    fail(ErrorCode::kUsage, "text {} has {} tokens, the model takes {}; --truncate cuts it", number,
         tokens.size(), most);
  const TokenId last = tokens.back();
  tokens.resize(most);
  if (embedder.tokenizer->is_special(last)) tokens.back() = last;
  return tokens;
}

void run(const EmbedOptions& options) {
  const std::vector<std::string> texts = texts_of(options);
  if (texts.empty()) fail(ErrorCode::kUsage, "there is no text to embed");
  const Embedder embedder = open_embedder(options);
  std::vector<std::vector<TokenId>> tokens;
  for (const std::string& text : texts)
    tokens.push_back(tokens_of(embedder, text, tokens.size() + 1, options.truncate));
  constexpr std::size_t kAtOnce = 64;
  Json list = Json::array();
  for (std::size_t first = 0; first < tokens.size(); first += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, tokens.size() - first);
    std::size_t at = first;
    for (const auto& vector : embedder.embed(std::span(tokens).subspan(first, count))) {
      if (!options.json)
        print_data(fmt::format("{}\n", fmt::join(vector, " ")));
      else
        list.push_back({{"index", at}, {"tokens", tokens[at].size()}, {"embedding", vector}});
      ++at;
    }
  }
  if (options.json) print_data(Json{{"model", options.model}, {"data", list}}.dump() + "\n");
}

}  // namespace

void setup_embed(CLI::App& app) {
  auto options = std::make_shared<EmbedOptions>();
  add_model_argument(app, *options);
  auto* texts = app.add_option("TEXT", options->texts, "Texts (default: lines of standard input)");
  app.add_option("-f,--file", options->file, "Read a text from each line of FILE")
      ->type_name("FILE")
      ->excludes(texts);
  app.add_flag("--truncate", options->truncate, "Cut texts that are longer than the model takes");
  add_dtype_option(app, *options);
  add_json_option(app, *options);
  add_engine_threads_options(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
