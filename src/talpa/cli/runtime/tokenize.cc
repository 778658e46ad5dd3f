#include <fmt/ranges.h>

#include <charconv>

#include "talpa/base/error.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct TokenizeOptions : CommonOptions, ModelOptions {
  std::string text;
  std::string file;
  bool ids = false;
  bool decode = false;
  bool no_special = false;
};

std::string input_of(const TokenizeOptions& options) {
  if (!options.file.empty()) return read_input(options.file);
  return options.text.empty() || options.text == "-" ? read_input("-") : options.text;
}

/// Ids separated by blanks, commas or brackets.
std::vector<TokenId> parse_ids(std::string_view text, int vocab_size) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<TokenId> ids;
  while (true) {
    const std::size_t start = text.find_first_not_of(kSeparators);
    if (start == std::string_view::npos) return ids;
    text.remove_prefix(start);
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    TokenId id = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= vocab_size)
      fail(ErrorCode::kUsage, "'{}' is not a token id below {}", word.substr(0, 40), vocab_size);
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

void print_tokens(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string out;
  for (const TokenId id : ids) out += fmt::format("{:>8}  {}\n", id, tokenizer.token(id));
  print_data(out);
}

void run(const TokenizeOptions& options) {
  const auto tokenizer = open_tokenizer(options.model);
  const std::string input = input_of(options);
  if (options.decode) {
    const std::string text =
        tokenizer->decode(parse_ids(input, tokenizer->vocab_size()), !options.no_special);
    if (options.json) return print_json({{"text", text}});
    return print_data(text + "\n");
  }
  const std::vector<TokenId> ids = tokenizer->encode(input, !options.no_special);
  if (options.json) {
    Json tokens = Json::array();
    for (const TokenId id : ids) tokens.push_back(tokenizer->token(id));
    return print_json({{"ids", ids}, {"tokens", tokens}, {"count", ids.size()}});
  }
  if (options.ids) return print_data(fmt::format("{}\n", fmt::join(ids, " ")));
  print_tokens(*tokenizer, ids);
}

}  // namespace

void setup_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model, "Model, GGUF or tokenizer.json")->required();
  auto* text = app.add_option("TEXT", options->text, "Text (default: standard input)");
  app.add_option("-f,--file", options->file, "Read the text from FILE")
      ->type_name("FILE")
      ->excludes(text);
  app.add_flag("--ids", options->ids, "Print the ids on one line");
  app.add_flag("--decode", options->decode, "The input is ids; print their text");
  app.add_flag("--no-special", options->no_special,
               "Add no beginning and end tokens; with --decode, keep special tokens");
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
